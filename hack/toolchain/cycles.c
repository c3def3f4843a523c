/*
 * In place of the runtime's collector of reference cycles (scr_cycle.c of @scriptc/runtime, whose interface is in its
 * scr_runtime.h): none. Podwire's data are trees, and a process that ends after milliseconds can leave a cycle lying. The
 * collector costs an entry in its list with almost every release, and a walk over everything that lives now and then.
 *
 * What the interface asks for all the same: memory that is zero, and 16 bytes in front of an object, into which compiled
 * code stores the colour of an object that it retains.
 */
#include "scr_runtime.h"

#include <stdlib.h>

enum { HEAD = 16 };

void *scr_cyc_alloc(size_t size, ScrTraceFn trace, ScrCycFreeFn free_fn)
{
	(void)trace, (void)free_fn;
	char *block = calloc(1, HEAD + size);
	if (block == NULL)
		scr_trap("scriptc: out of memory\n");
	return block + HEAD;
}

void scr_cyc_free(void *object)
{
	free((char *)object - HEAD);
}

void scr_cyc_on_release(void *object)
{
	(void)object;
}

void scr_cyc_on_dead(void *object)
{
	(void)object;
}

void scr_cyc_collect_scheduled(void)
{
}

void scr_collect_cycles(void)
{
}
