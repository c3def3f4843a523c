/** Reading values of the API's objects. They come from elsewhere: what is missing or of another type is "" or empty. Pure. */
import type { Json } from "../lib/cni/json.ts";

/** The value at a path of members: `valueAt(node, "spec", "podCIDR")`; null if there is none. */
export function valueAt(object: Json, first: string, second: string): Json | null {
  const inner = object.get(first);
  return inner === null ? null : inner.get(second);
}

/** The text of a member; "" if it is missing or no string. */
export function textIn(object: Json | null, key: string): string {
  const value = object === null ? null : object.get(key);
  return value !== null && value.kind === "string" ? value.text : "";
}

/** The elements of a value that is an array; else none. */
export function itemsOf(value: Json | null): readonly Json[] {
  return value !== null && value.kind === "array" ? value.items : [];
}

/** The strings in a value that is an array; else none. */
export function textsOf(value: Json | null): string[] {
  const texts: string[] = [];
  for (const item of itemsOf(value)) if (item.kind === "string") texts.push(item.text);
  return texts;
}
