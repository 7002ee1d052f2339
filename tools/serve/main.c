/* main.c - deeplake-serve, which `deeplake serve` runs. */
#include "tools/serve/serve.h"

int main(int argc, char **argv)
{
	return df_serve_main(argc, argv);
}
