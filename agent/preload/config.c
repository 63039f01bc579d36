#include "config.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "sys.h"

struct config config;

static size_t length_of(const char *text) {
	size_t length = 0;
	while (text[length] != '\0')
		length++;
	return length;
}

static const char *find(char **environment, const char *name) {
	size_t length = length_of(name);
	for (char **entry = environment; entry != NULL && *entry != NULL; entry++) {
		size_t i = 0;
		while (i < length && (*entry)[i] == name[i])
			i++;
		if (i == length && (*entry)[i] == '=')
			return *entry + length + 1;
	}
	return NULL;
}

const char *config_variable(char **environment, const char *name) {
	return find(environment, name);
}

void config_hide(char **environment) {
	char **to = environment;
	for (char **from = environment; from != NULL && *from != NULL; from++) {
		const char *preload = "LD_PRELOAD=";
		const char *own = "DIAPER_";
		size_t i = 0;
		size_t j = 0;
		while (preload[i] != '\0' && (*from)[i] == preload[i])
			i++;
		while (own[j] != '\0' && (*from)[j] == own[j])
			j++;
		if (preload[i] != '\0' && own[j] != '\0')
			*to++ = *from;
	}
	if (to != NULL)
		*to = NULL;
}

static void say(const char *text) {
	sys3(SYS_write, 2, sys_ptr(text), (long)length_of(text));
}

void config_say(const char *text) {
	say("diaper agent: ");
	say(text);
}

static bool wrong(const char *name, const char *value, const char *expected) {
	say("diaper agent: ");
	say(name);
	say("=\"");
	say(value);
	say("\": ");
	say(expected);
	say("; the program runs without pinholes\n");
	return false;
}

static bool copy(char *to, size_t size, const char *from) {
	size_t length = length_of(from);
	if (length >= size)
		return false;
	memset(to, 0, size);
	memcpy(to, from, length);
	return true;
}

/* Decimal digits up to a character of `ends`; the number's end is left in *text. */
static bool number(const char **text, uint32_t max, uint32_t *value) {
	uint32_t sum = 0;
	const char *at = *text;
	for (; *at >= '0' && *at <= '9'; at++) {
		uint32_t digit = (uint32_t)(*at - '0');
		if (sum > (max - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	if (at == *text)
		return false;
	*text = at;
	*value = sum;
	return true;
}

static bool starts(const char **text, const char *word) {
	size_t i = 0;
	for (; word[i] != '\0'; i++)
		if ((*text)[i] != word[i])
			return false;
	*text += i;
	return true;
}

static bool read_control(const char *text) {
	if (*text == '\0')
		return true;
	for (;;) {
		uint8_t protocol;
		uint32_t port;
		if (starts(&text, "tcp/"))
			protocol = IPPROTO_TCP;
		else if (starts(&text, "udp/"))
			protocol = IPPROTO_UDP;
		else
			return false;
		if (!number(&text, 65535, &port) || port == 0 ||
		    config.control_count == CONFIG_CONTROL_MAX)
			return false;
		config.control[config.control_count].protocol = protocol;
		config.control[config.control_count].port = (uint16_t)port;
		config.control_count++;
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

/* Which of three words a value is; without a value the first. False when it is none of them. */
static bool choose(const char *value, const char *const words[3], unsigned *chosen) {
	*chosen = 0;
	if (value == NULL)
		return true;
	for (; *chosen < 3; ++*chosen) {
		const char *text = value;
		if (starts(&text, words[*chosen]) && *text == '\0')
			return true;
	}
	return false;
}

static bool read_multiplexing(char **environment) {
	const char *limit = find(environment, "DIAPER_LIMIT");
	const char *log = find(environment, "DIAPER_LOG");
	unsigned chosen;
	if (!choose(limit, (const char *const[]){"auto", "always", "never"}, &chosen))
		return wrong("DIAPER_LIMIT", limit, "expected auto, always or never");
	config.limit = (enum config_limit)chosen;
	if (!choose(log, (const char *const[]){"broker", "stderr", "none"}, &chosen))
		return wrong("DIAPER_LOG", log, "expected broker, stderr or none");
	config.log = (enum config_log)chosen;
	return true;
}

static bool has_foreign_rights(void) {
	return sys3(SYS_getuid, 0, 0, 0) != sys3(SYS_geteuid, 0, 0, 0) ||
	       sys3(SYS_getgid, 0, 0, 0) != sys3(SYS_getegid, 0, 0, 0);
}

bool config_read(char **environment) {
	const char *path = find(environment, "DIAPER_SOCKET");
	const char *inherited = find(environment, "DIAPER_FD");
	const char *wrapper = find(environment, "DIAPER_WRAPPER_FD");
	const char *delegate = find(environment, "DIAPER_DELEGATE");
	const char *control = find(environment, "DIAPER_CONTROL");
	const char *timeout = find(environment, "DIAPER_TIMEOUT_MS");
	uint32_t value;

	config.inherited_fd = -1;
	config.wrapper_fd = -1;
	config.timeout_ms = 30000;
	if ((path == NULL && inherited == NULL) || has_foreign_rights())
		return false;
	if (path != NULL && (path[0] != '/' || !copy(config.socket_path, sizeof config.socket_path, path)))
		return wrong("DIAPER_SOCKET", path, "expected an absolute path of at most 107 bytes");
	if (inherited != NULL) {
		const char *text = inherited;
		if (!number(&text, 0x7ffffffe, &value) || *text != '\0')
			return wrong("DIAPER_FD", inherited, "expected the number of a descriptor");
		config.inherited_fd = (int)value;
	}
	if (wrapper != NULL) {
		const char *text = wrapper;
		if (!number(&text, 0x7ffffffe, &value) || *text != '\0')
			return wrong("DIAPER_WRAPPER_FD", wrapper, "expected the number of a descriptor");
		config.wrapper_fd = (int)value;
	}
	if (delegate != NULL && !copy(config.delegate, sizeof config.delegate, delegate))
		return wrong("DIAPER_DELEGATE", delegate, "expected a name of at most 63 bytes");
	if (timeout != NULL) {
		const char *text = timeout;
		if (!number(&text, 600000, &value) || *text != '\0')
			return wrong("DIAPER_TIMEOUT_MS", timeout, "expected 0 to 600000 milliseconds");
		config.timeout_ms = value;
	}
	if (control != NULL && !read_control(control))
		return wrong("DIAPER_CONTROL", control,
		             "expected at most 32 of tcp/PORT or udp/PORT with commas between");
	return read_multiplexing(environment);
}
