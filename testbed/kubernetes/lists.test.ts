/** What is true of all pages and all patches. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { MovedClock } from "./clock.ts";
import { changedFields, fieldsOf, union, without } from "./field-set.ts";
import { byBytes } from "./json.ts";
import { findKind, type Kind } from "./kinds.ts";
import { pageOf } from "./lists.ts";
import { node } from "./node-objects.ts";
import { listOptions } from "./options.ts";
import { mergePatch } from "./patch.ts";
import { Store } from "./store.ts";

const NODES = findKind("", "v1", "nodes") as Kind;
const CONFIGMAPS = findKind("", "v1", "configmaps") as Kind;
const name = fc.stringMatching(/^[a-z0-9]{1,3}(\.[a-z0-9]{1,3})?$/);

test("pages have what there was when the first was asked for, in order, each object once", async () => {
  const property = fc.asyncProperty(
    fc.uniqueArray(name, { maxLength: 12 }),
    fc.integer({ min: 1, max: 5 }),
    fc.array(fc.tuple(fc.boolean(), name)),
    async (names, limit, changes) => {
      const clock = new MovedClock();
      const store = new Store(clock);
      for (const one of names) store.write(NODES, node({ name: one }));
      const left = [...changes];
      const seen: string[] = [];
      let token = "";
      do {
        const query = new URLSearchParams({ limit: String(limit), continue: token });
        const options = listOptions(query, { watchList: true });
        const page = await pageOf({ store, clock }, { kind: NODES, namespace: "", name: "" }, options);
        seen.push(...page.items.map(({ object }) => object.metadata.name));
        expect(page.remaining ?? 0).toBe(names.length - seen.length);
        for (const [put, one] of left.splice(0, 2)) {
          if (put) store.write(NODES, node({ name: one, ready: false }));
          else store.remove(NODES, one);
        }
        token = page.continue;
      } while (token !== "");
      expect(seen).toEqual(names.toSorted(byBytes));
    },
  );
  await fc.assert(property);
});

const data = fc.dictionary(fc.constantFrom("a", "b", "c", "d"), fc.constantFrom("1", "2"), { minKeys: 1 });

test("what is changed is what has another value, and sets of fields add up", () => {
  fc.assert(
    fc.property(data, data, (before, after) => {
      const changed = changedFields(CONFIGMAPS, { data: before }, { data: after });
      const expected = Object.keys(after).filter((key) => before[key] !== after[key]);
      expect(Object.keys(changed?.["f:data"] ?? {}).toSorted()).toEqual(expected.map((key) => `f:${key}`).toSorted());
      const [a, b] = [fieldsOf(CONFIGMAPS, { data: before }), fieldsOf(CONFIGMAPS, { data: after })];
      const apart = without(a, b);
      expect(union(apart, b)).toEqual(union(a, b));
      expect(without(apart, b)).toEqual(apart);
    }),
  );
});

test("a merge patch done twice is the same as once", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (target, patch) => {
      const once = mergePatch(target, patch);
      expect(mergePatch(once, patch)).toEqual(once);
    }),
  );
});
