/* main.c - deeplake-sandbox: what `deeplake sandbox` runs. */
#include "tools/sandbox/cli.h"

int main(int argc, char **argv)
{
	return df_sandbox_main(argc, argv);
}
