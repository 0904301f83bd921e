/* call NUMBER [ARGUMENT...]: one system call, and its errno on stdout (0: none). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long words[7] = {0};

    for (int i = 1; i < argc && i <= 7; i++)
        words[i - 1] = strtol(argv[i], NULL, 0);
    long value = syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
    printf("%d\n", value < 0 ? errno : 0);
    return 0;
}
