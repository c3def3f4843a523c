/*
 * Replaces the runtime's collector of reference cycles (scr_cycle.c of @scriptc/runtime; scr_runtime.h has the interface).
 * This one collects nothing. Podwire's data are trees, and a process that lives for milliseconds can leak a cycle. The
 * runtime's collector adds an entry to its list with almost every release, and now and then walks over all live objects.
 *
 * What the interface requires nevertheless: zeroed memory, and 16 bytes in front of each object. Compiled code stores the
 * colour of an object there when it retains the object.
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
