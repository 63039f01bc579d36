# The launcher: static, so that neither the host's C library nor LD_* has a say in it.
LAUNCHER_CC ?= musl-gcc
LAUNCHER_SOURCES := $(sort $(wildcard launcher/*.c))
LAUNCHER_FLAGS := -std=gnu11 -O2 -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion \
	-Wformat=2 -fstack-protector-strong -fno-ident -static -no-pie \
	-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none,-s

all: $(OUT)/diaper-launcher

$(OUT)/diaper-launcher: $(LAUNCHER_SOURCES) $(wildcard launcher/*.h) launcher/rules.mk
	@mkdir -p $(OUT)
	$(LAUNCHER_CC) $(LAUNCHER_FLAGS) -o $@ $(LAUNCHER_SOURCES)
