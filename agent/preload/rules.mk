# The interposition agent: one shared object for glibc (from 2.2.5 on) and musl.
PRELOAD_SOURCES := $(sort $(wildcard preload/*.c preload/*.S))

# initial-exec: no __tls_get_addr, which may allocate. freestanding and no fortify: no call into
# libc that the sources do not name. No path, time or build id of the building machine gets in.
PRELOAD_FLAGS := -std=gnu11 -O2 -fPIC -fvisibility=hidden -ftls-model=initial-exec -ffreestanding \
	-U_FORTIFY_SOURCE -fno-strict-aliasing -fstack-protector-strong -fcf-protection=full \
	-fno-asynchronous-unwind-tables -fno-ident -ffile-prefix-map=$(CURDIR)=. \
	-Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wundef -Wwrite-strings -Wpointer-arith
# libc and libdl are named so that references carry the version GLIBC_2.2.5 and dlsym is found in
# either; musl's loader takes both names as itself.
PRELOAD_LIBRARIES := -nostdlib -Wl,--no-as-needed -l:libc.so.6 -l:libdl.so.2
PRELOAD_LINK := -shared -Wl,-z,relro,-z,now,-z,defs,-z,noexecstack,--build-id=none,-s \
	-Wl,-Bsymbolic,--hash-style=both,-soname,libdiaper-agent.so,--version-script=preload/exports.map

all: preload
preload: $(OUT)/libdiaper-agent.so

$(OUT)/libdiaper-agent.so: $(PRELOAD_SOURCES) $(wildcard preload/*.h) preload/exports.map preload/rules.mk
	@mkdir -p $(OUT)
	$(CC) $(PRELOAD_FLAGS) $(PRELOAD_SOURCES) $(PRELOAD_LINK) $(PRELOAD_LIBRARIES) -o $@

test: preload-test
preload-test: preload
	cd .. && deno test -A tests/agent/

.PHONY: preload preload-test
