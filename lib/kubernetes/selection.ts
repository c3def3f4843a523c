/**
 * Which members of an object are kept while it is read: a tree of names. What it does not name is skipped, and never stands in
 * memory. An array takes the selection for each of its elements: `status.conditions.type` is the type of each condition. Pure.
 */
import { itemAt } from "../lists.ts";
import { decodeUtf8 } from "../text.ts";

/** What is kept of an object: its members by their names, and the same for each of them. */
export class Selection {
  /** The names as UTF-8, to compare them with bytes as they arrive. */
  readonly names: Uint8Array[] = [];
  /** What is kept below each name. */
  readonly members: Selection[] = [];
  /** Whether everything is kept, with all that is below. */
  isWhole = false;
  /** Whether this is an array whose elements are handed on one by one, each as soon as it is complete. */
  isSplit = false;

  /**
   * Keeps a member with everything below it. Returns the selection itself, so that calls can be chained.
   * @param path the names from this object down: ["metadata", "annotations", "example.com/key"]
   */
  keep(path: readonly string[]): Selection {
    let at: Selection = this;
    for (const name of path) at = at.member(name);
    at.isWhole = true;
    return this;
  }

  /** What is kept below a name, to add to it. */
  member(name: string): Selection {
    const bytes = new TextEncoder().encode(name);
    const known = this.find(bytes, bytes.length);
    if (known !== null) return known;
    const selection = new Selection();
    this.names.push(bytes);
    this.members.push(selection);
    return selection;
  }

  /** What is kept below a name; null for nothing. @param name `name[0]` to `name[length - 1]`, UTF-8 */
  find(name: Uint8Array, length: number): Selection | null {
    let at = 0;
    for (const one of this.names) {
      if (one.length === length && beginsWith(name, one)) return itemAt(this.members, at);
      at += 1;
    }
    return null;
  }

  /** Also keeps what another selection keeps. */
  add(other: Selection): Selection {
    if (other.isWhole) this.isWhole = true;
    let at = 0;
    for (const name of other.names) {
      const member = itemAt(other.members, at);
      if (member !== null) this.member(decodeUtf8(name)).add(member);
      at += 1;
    }
    return this;
  }
}

function beginsWith(bytes: Uint8Array, beginning: Uint8Array): boolean {
  for (let at = 0; at < beginning.length; at += 1) if (bytes[at] !== beginning[at]) return false;
  return true;
}

/** The annotation of the bookmark that ends the initial events of a streaming list. */
export const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** What is kept of a Status, by which the server describes an error. */
const STATUS: readonly string[] = ["kind", "code", "reason", "message", "details"];

/** What is kept of an answer that is one object. @param object what is kept of the object */
export function ofObject(object: Selection): Selection {
  const selection = new Selection().add(object);
  for (const name of STATUS) selection.keep([name]);
  return selection;
}

/** What is kept of an answer that is a list. @param object what is kept of each item */
export function ofList(object: Selection): Selection {
  const selection = ofObject(new Selection()).keep(["metadata", "resourceVersion"]).keep(["metadata", "continue"]);
  const items = selection.member("items").add(object);
  items.isSplit = true;
  return selection;
}

/** What is kept of each event of a watch. @param object what is kept of its object */
export function ofEvents(object: Selection): Selection {
  const selection = new Selection().keep(["type"]);
  selection
    .member("object")
    .add(ofObject(object))
    .keep(["metadata", "resourceVersion"])
    .keep(["metadata", "annotations", INITIAL_EVENTS_END]);
  return selection;
}
