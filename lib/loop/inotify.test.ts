import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Change, changesIn } from "./inotify.ts";

/** A `struct inotify_event` as the kernel writes it: the name is padded with NULs to 16 bytes. */
function eventOf({ mask, name }: Change): Buffer {
  const text = Buffer.from(name);
  const length = name === "" ? 0 : Math.ceil((text.length + 1) / 16) * 16;
  const event = Buffer.alloc(16 + length);
  event.writeInt32LE(1, 0);
  event.writeUInt32LE(mask, 4);
  event.writeUInt32LE(length, 12);
  text.copy(event, 16);
  return event;
}

const change = fc.record({
  mask: fc.nat(0xffff),
  name: fc.string({ maxLength: 40 }).filter((name) => !name.includes("\0")),
});

describe("changes", () => {
  it("are read as they were written", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), (changes) => {
        const written = Buffer.concat(changes.map(eventOf));
        expect(changesIn(Uint8Array.from(written), written.length)).toEqual(changes);
      }),
    );
  });

  it("are left out if they are cut off", () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(), (changes, cut) => {
        const written = Buffer.concat(changes.map(eventOf));
        const length = cut % written.length;
        const found = changesIn(Uint8Array.from(written), length);
        expect(found).toEqual(changes.slice(0, found.length));
        expect(found.length).toBeLessThan(changes.length);
      }),
    );
  });
});
