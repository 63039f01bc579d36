#include "hazard.h"

#define EACH(X)                                                                                 \
	X(dup) X(dup_pending) X(close_all) X(fclose) X(small_limit) X(process) X(two_sessions)      \
	X(daemon) X(vfork) X(vfork_udp) X(early_reuse) X(spawn) X(say) X(exec) X(session)           \
	X(activated) X(activated_server) X(handed) X(sandbox) X(accept) X(local) X(no_port)         \
	X(early) X(dual_stack) X(two_families) X(client) X(remote) X(refused) X(raw)                \
	X(udp_server) X(udp_same_number) X(udp_client) X(storm) X(state) X(longjmp) X(nested)       \
	X(threads) X(thread_peers) X(cancel) X(steps) X(multiplexed) X(starving) X(disputed)        \
	X(pool) X(thread_for_each) X(rights) X(waits) X(interrupted) X(mixed) X(server_calls)       \
	X(two_connections) X(two_connections_server) X(udp_autobind) X(udp_two_servers)             \
	X(udp_many) X(reserved) X(readers)

#define DECLARE(name) HAZARD(name);
#define ENTRY(name) {#name, hazard_##name},

EACH(DECLARE)

static const struct {
	const char *name;
	int (*run)(int count, char **arguments);
} table[] = {EACH(ENTRY)};

int main(int count, char **arguments) {
	own_path = arguments[0];
	for (size_t i = 0; count > 1 && i < sizeof table / sizeof table[0]; i++)
		if (strcmp(table[i].name, arguments[1]) == 0)
			return table[i].run(count - 2, arguments + 2);
	return 2;
}
