# The supervisor of programs that the preloaded agent cannot get into: static, like the launcher.
# The kernel's own headers come after musl's, which has none of them.
TRACE_CC ?= musl-gcc
TRACE_MACHINE := $(shell $(CC) -dumpmachine)
TRACE_SHARED := preload/endpoint.c preload/refuse.c
TRACE_SOURCES := $(sort $(wildcard trace/*.c)) $(TRACE_SHARED)
TRACE_FLAGS := -std=gnu11 -O2 -D_GNU_SOURCE -Ipreload -idirafter /usr/include -idirafter /usr/include/$(TRACE_MACHINE) \
	-Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -fno-strict-aliasing -fstack-protector-strong -fcf-protection=full -fno-ident \
	-ffile-prefix-map=$(CURDIR)=. -static -no-pie -Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none,-s

all: $(OUT)/diaper-trace

$(OUT)/diaper-trace: $(TRACE_SOURCES) $(wildcard trace/*.h) preload/endpoint.h preload/refuse.h \
		preload/wire.h preload/sys.h trace/rules.mk
	@mkdir -p $(OUT)
	$(TRACE_CC) $(TRACE_FLAGS) -o $@ $(TRACE_SOURCES)
