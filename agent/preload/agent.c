/* Start of the interposition agent: see docs/protocols/agent-broker.md and pinhole.h. */
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "library.h"
#include "meet.h"
#include "nat.h"
#include "pinhole.h"
#include "process.h"
#include "real.h"
#include "trunk.h"

extern char **environ;

/*
 * Everything that may need rights, the file system or the dynamic linker happens here, before
 * main can chroot, drop rights, or leave the network namespace. Without a broker the hooks pass
 * everything on.
 */
__attribute__((constructor)) static void agent_start(void) {
	if (real.fclose == NULL)
		real_resolve();
	library_start();
	if (!config_read(environ) || !process_start())
		return;
	bool started = trunk_start();
	if (config.wrapper_fd >= 0)
		config_hide(environ);
	if (!started)
		return;
	nat_read(environ);
	meet_inherited();
	pinhole_active = true;
}
