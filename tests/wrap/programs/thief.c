/*
 * A library that somebody wants inside a wrapped client. In the agent's place it shows the ticket instead
 * of presenting it, and keeps the wrapper's channel.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../agent/preload/wire.h"

__attribute__((constructor)) static void steal(void) {
	struct wire_ticket ticket;
	const char *fd = getenv("DIAPER_WRAPPER_FD");
	fprintf(stderr, "thief inside\n");
	if (fd == NULL || recv(atoi(fd), &ticket, sizeof ticket, MSG_DONTWAIT) != sizeof ticket)
		return;
	printf("ticket ");
	for (size_t i = 0; i < sizeof ticket.ticket; i++)
		printf("%02x", ticket.ticket[i]);
	printf("\n");
	fflush(stdout);
}
