/* A scanner in C: cuts every second frame that it may contain. */
#include "scanner.h"

int main(void) {
	unsigned count = 0;
	hello();
	subscribe(0, 2, "udp");
	for (;;) {
		uint16_t type = receive_message();
		if (type == 0x03)
			verdict(frame_number(), ++count % 2 == 0 ? 2 : 1);
		else if (type == 0x05)
			send_message(0x86, message, 4);
		else if (type == 0x07)
			return 0;
	}
}
