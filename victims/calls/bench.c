// Makes system calls in a loop when it is asked to, and says what one takes: a line `CALL N` on standard input is answered by the
// nanoseconds that each of N calls took. With a number as its argument it has as many threads beside, which sleep.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void *rest(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(int count, char **words)
{
	char line[64], call[32], byte;
	int zero = open("/dev/zero", O_RDONLY);
	long threads = count > 1 ? atol(words[1]) : 0, times;
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 1 << 16);
	while (threads-- > 0) {
		pthread_t thread;

		if (pthread_create(&thread, &small, rest, NULL))
			return 1;
	}
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%31s %ld", call, &times) != 2 || times <= 0)
			return 2;
		int is_read = !strcmp(call, "read");
		double before = now();
		for (long i = 0; i < times; i++) {
			if (is_read) {
				if (read(zero, &byte, 1) < 0)
					continue;
			} else {
				getppid();
			}
		}
		printf("%.3f\n", (now() - before) / times);
		fflush(stdout);
	}
	return 0;
}
