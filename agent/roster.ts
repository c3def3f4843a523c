/** The nodes of the cluster as the API server has told of them. Pure. */
import { type ClusterNode, packNode, unpackNode } from "./node.ts";

/** One change, for the log. */
export interface Change {
  readonly before: ClusterNode | null;
  readonly after: ClusterNode | null;
}

export class Roster {
  /** By their names, packed. */
  readonly #nodes = new Map<string, string>();
  /** The names that a list which is not complete yet has not confirmed; none while no list is under way. */
  #unconfirmed = new Set<string>();
  /** Whether a list was ever complete. */
  #isComplete = false;

  /** Whether a complete list has been seen: before that nothing can be said of who is not here. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  get size(): number {
    return this.#nodes.size;
  }

  find(name: string): ClusterNode | null {
    const packed = this.#nodes.get(name) ?? null;
    return packed === null ? null : unpackNode(name, packed);
  }

  /** A new list begins. */
  begin(): void {
    this.#unconfirmed = new Set<string>();
    for (const name of this.#nodes.keys()) this.#unconfirmed.add(name);
  }

  /** A node that is there. Null if nothing about it has changed. */
  put(node: ClusterNode): Change | null {
    this.#unconfirmed.delete(node.name);
    const packed = packNode(node);
    if (this.#nodes.get(node.name) === packed) return null;
    const before = this.find(node.name);
    this.#nodes.set(node.name, packed);
    return { before, after: node };
  }

  /** A node that has gone. Null if it was not known, or is another one by that name. */
  remove(name: string, uid: string): Change | null {
    const before = this.find(name);
    if (before === null || (uid !== "" && before.uid !== uid)) return null;
    this.#nodes.delete(name);
    this.#unconfirmed.delete(name);
    return { before, after: null };
  }

  /** The list is complete: what it did not have is gone. */
  complete(): Change[] {
    const changes: Change[] = [];
    const gone = this.#unconfirmed;
    this.#unconfirmed = new Set<string>();
    for (const name of gone) {
      const change = this.remove(name, "");
      if (change !== null) changes.push(change);
    }
    this.#isComplete = true;
    return changes;
  }

  /** The names of all nodes, in their order. */
  names(): string[] {
    const names: string[] = [];
    for (const name of this.#nodes.keys()) names.push(name);
    return names.sort();
  }
}

/** A change as a sentence: "node b joined: 192.0.2.2 with pods in 10.244.1.0/24". */
export function describeChange({ before, after }: Change): string {
  if (after === null) return before === null ? "nothing changed" : `node ${before.name} has gone`;
  const { name, addresses, podCidrs } = after;
  const pods = podCidrs.length === 0 ? "no podCIDRs yet" : `pods in ${podCidrs.join(", ")}`;
  const what = `${addresses.length === 0 ? "no address yet" : addresses.join(", ")} with ${pods}`;
  if (before === null) return `node ${name} joined: ${what}`;
  if (before.uid !== after.uid) return `node ${name} is another one by that name: ${what}`;
  return `node ${name} changed: ${what}`;
}
