/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Calls about sockets. */
#pragma once

/* include/linux/socket.h */
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define SOCKET_BIT (1 << 12)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct socket {
	struct file___failing *file;
};

struct msghdr {
	unsigned int msg_flags;
};

#pragma clang attribute pop

static __always_inline void look_at_socket(struct asked *asked, struct socket *socket)
{
	asked->kind = SOCKET_BIT;
	asked->is_nonblocking = (BPF_CORE_READ(socket, file, f_flags) & O_NONBLOCK) != 0;
}

static __always_inline long answer_at(enum hook hook, struct socket *socket)
{
	struct asked asked = { .hooks = 1u << hook };

	look_at_socket(&asked, socket);
	return answer(&asked, 0);
}

#define AT_SOCKET(function, hook)                                                                                              \
	AT(function, struct socket *socket)                                                                                    \
	{                                                                                                                      \
		return answer_at(hook, socket);                                                                                \
	}

AT_SOCKET(socket_socketpair, SOCKETPAIR)
AT_SOCKET(socket_connect, CONNECT)
AT_SOCKET(socket_bind, BIND)
AT_SOCKET(socket_listen, LISTEN)
AT_SOCKET(socket_accept, ACCEPT)
AT_SOCKET(socket_shutdown, SHUTDOWN)

AT(socket_create, int domain, int type, int protocol, int is_of_kernel)
{
	return is_of_kernel ? 0 : answer_for(SOCKET);
}

AT(socket_sendmsg, struct socket *socket, struct msghdr *message)
{
	struct asked asked = { .hooks = 1u << SEND };

	look_at_socket(&asked, socket);
	asked.is_nonblocking |= message->msg_flags & MSG_DONTWAIT;
	return answer(&asked, !(message->msg_flags & MSG_NOSIGNAL));
}

AT(socket_recvmsg, struct socket *socket, struct msghdr *message, int size, int flags)
{
	struct asked asked = { .hooks = 1u << RECEIVE };

	look_at_socket(&asked, socket);
	asked.is_nonblocking |= flags & MSG_DONTWAIT;
	return answer(&asked, 0);
}
