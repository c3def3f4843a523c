/*
 * A heap that finds uses of freed memory, in place of lib/sys/memory.c. Only the comparison of conformance/toolchain links
 * it. A freed block is filled with POISON and never given out again:
 * - a pointer that is read from it is no address, so following it ends the process with SIGSEGV;
 * - a number that is read from it differs from what another executable prints;
 * - a write to it, such as the reference count of a value that is retained or released too late, is found at the end.
 * A block that is freed twice ends the process at once.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POISON = 0x5a, ALIGNMENT = 16, PIECE = 1024 * 1024, STATUS = 86 };

/* In front of each block. 32 bytes, so that blocks are aligned for anything. */
struct header {
	struct header *previous;
	size_t size;
	size_t freed;
	size_t unused;
};

static struct header *last;
static uint8_t *piece, *piece_end;

/* sys.c is compiled with -D_exit=checked_exit for this heap. */
void checked_exit(int status);

static void fail(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(STATUS);
	_exit(STATUS);
}

static void check(void)
{
	for (struct header *header = last; header != NULL; header = header->previous) {
		const uint8_t *bytes = (const uint8_t *)(header + 1);
		for (size_t i = 0; header->freed && i < header->size; i++)
			if (bytes[i] != POISON)
				fail("poisoned heap: memory was written to after it was freed\n");
	}
}

void checked_exit(int status)
{
	check();
	_exit(status);
}

void *malloc(size_t size)
{
	size_t length = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + sizeof(struct header);
	if (size > PTRDIFF_MAX - PIECE) {
		errno = ENOMEM;
		return NULL;
	}
	if (length > (size_t)(piece_end - piece)) {
		size_t fresh = length > PIECE ? length : PIECE;
		void *memory = mmap(NULL, fresh, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return NULL;
		piece = memory;
		piece_end = piece + fresh;
	}
	struct header *header = (struct header *)piece;
	piece += length;
	*header = (struct header){.previous = last, .size = size};
	last = header;
	return header + 1;
}

/* Memory that the kernel has just given is zero. */
void *calloc(size_t count, size_t size)
{
	size_t length;
	if (__builtin_mul_overflow(count, size, &length)) {
		errno = ENOMEM;
		return NULL;
	}
	return malloc(length);
}

void free(void *memory)
{
	if (memory == NULL)
		return;
	struct header *header = (struct header *)memory - 1;
	if (header->freed)
		fail("poisoned heap: memory was freed twice\n");
	header->freed = 1;
	memset(memory, POISON, header->size);
}

/* Always to another place: a pointer to the former one is stale. */
void *realloc(void *memory, size_t size)
{
	void *moved = malloc(size);
	if (memory == NULL || moved == NULL)
		return moved;
	size_t before = ((struct header *)memory - 1)->size;
	memcpy(moved, memory, before < size ? before : size);
	free(memory);
	return moved;
}
