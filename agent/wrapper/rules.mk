# The setuid wrapper: static, so that no loader and no library has a say in what runs with a delegate's
# rights.
WRAPPER_CC ?= musl-gcc
WRAPPER_SOURCES := $(sort $(wildcard wrapper/*.c)) launcher/sha256.c
# The kernel's own headers, which musl does not bring along.
WRAPPER_HEADERS := -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -print-multiarch)
WRAPPER_FLAGS := -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion \
	-Wformat=2 -Wvla -Wstrict-prototypes -fstack-protector-strong -fno-ident -static -no-pie \
	-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none,-s

all: $(OUT)/diaper-wrapper

$(OUT)/diaper-wrapper: $(WRAPPER_SOURCES) $(wildcard wrapper/*.h) launcher/sha256.h preload/wire.h \
		wrapper/rules.mk
	@mkdir -p $(OUT)
	$(WRAPPER_CC) $(WRAPPER_FLAGS) $(WRAPPER_HEADERS) -o $@ $(WRAPPER_SOURCES)
