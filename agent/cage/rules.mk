# The cage in which scanners run: static, so that it needs nothing of what it shuts out.
CAGE_CC ?= gcc
CAGE_SOURCES := $(sort $(wildcard cage/*.c))
CAGE_FLAGS := -std=gnu11 -O2 -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion \
	-Wformat=2 -fstack-protector-strong -fno-ident -static -no-pie \
	-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none,-s

all: $(OUT)/diaper-cage

$(OUT)/diaper-cage: $(CAGE_SOURCES) $(wildcard cage/*.h) cage/rules.mk
	@mkdir -p $(OUT)
	$(CAGE_CC) $(CAGE_FLAGS) -o $@ $(CAGE_SOURCES)
