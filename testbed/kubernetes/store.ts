/** What etcd and the watch cache hold: objects, one counter of versions, and the changes since the cache began. */
import { randomUUID } from "node:crypto";
import { type Clock, timestamp } from "./clock.ts";
import { byBytes, goJson, type KubernetesObject } from "./json.ts";
import { inOrder, type Kind } from "./kinds.ts";

/** So many changes of a kind are kept at most. */
const HISTORY = 100_000;

/** One state of an object, with its text, which thousands of watches share. */
export class Revision {
  readonly version: number;
  readonly object: KubernetesObject;
  #bytes: Buffer | undefined;

  constructor(version: number, object: KubernetesObject) {
    this.version = version;
    this.object = object;
  }

  /** Compact JSON with kind and apiVersion, without an end of line. */
  get bytes(): Buffer {
    this.#bytes ??= Buffer.from(goJson(this.object));
    return this.#bytes;
  }
}

/** One change; `before` is null for a new object, `after` for one that is gone, whose last state has the new version. */
export interface Change {
  readonly version: number;
  readonly key: string;
  readonly before: Revision | null;
  readonly after: Revision | null;
  /** The last state of what is gone. */
  readonly last: Revision;
}

/** All objects of one kind. */
class Table {
  readonly objects = new Map<string, Revision>();
  readonly listeners = new Set<() => void>();
  changes: Change[] = [];
  /** The version of the last change that is not kept any more. */
  dropped = 0;
  /** Keys in order; null when it has to be worked out again. */
  keys: string[] | null = null;
}

export class Store {
  readonly #clock: Clock;
  readonly #tables = new Map<Kind, Table>();
  #version: number;
  /** Watches from before this version are too old. */
  #oldestWatch: number;
  /** Exact lists and continued ones of before this version are too old. */
  #oldestList: number;

  constructor(clock: Clock, version = 1) {
    this.#clock = clock;
    this.#version = version;
    this.#oldestWatch = 0;
    this.#oldestList = 0;
  }

  /** The version of the last change, of whatever kind. */
  get version(): number {
    return this.#version;
  }

  get oldestWatch(): number {
    return this.#oldestWatch;
  }

  get oldestList(): number {
    return this.#oldestList;
  }

  get(kind: Kind, key: string): Revision | undefined {
    return this.#table(kind).objects.get(key);
  }

  /** The current objects in the order of their keys. */
  list(kind: Kind): Revision[] {
    const table = this.#table(kind);
    table.keys ??= [...table.objects.keys()].sort(byBytes);
    return table.keys.map((key) => table.objects.get(key)).filter((revision) => revision !== undefined);
  }

  /** The objects as they were at a version that is not too old. */
  listAt(kind: Kind, version: number): Revision[] {
    const { objects, changes } = this.#table(kind);
    if (version >= this.#version) return this.list(kind);
    const past = new Map(objects);
    for (const { version: at, key, before } of changes.toReversed()) {
      if (at <= version) break;
      if (before === null) past.delete(key);
      else past.set(key, before);
    }
    return [...past.keys()].sort(byBytes).flatMap((key) => past.get(key) ?? []);
  }

  /** The changes after a version, oldest first. */
  changesAfter(kind: Kind, version: number): readonly Change[] {
    const { changes } = this.#table(kind);
    let low = 0;
    let high = changes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((changes[middle]?.version ?? 0) > version) high = middle;
      else low = middle + 1;
    }
    return changes.slice(low);
  }

  /** Whether a change after that version is not kept any more. */
  lost(kind: Kind, version: number): boolean {
    return this.#table(kind).dropped > version;
  }

  /** Calls after each change of that kind, until the returned function is called. */
  listen(kind: Kind, call: () => void): () => void {
    const { listeners } = this.#table(kind);
    listeners.add(call);
    return () => void listeners.delete(call);
  }

  /** Writes an object, as a new one or over the one there is. The caller has checked it. */
  write(kind: Kind, object: KubernetesObject): Revision {
    const key = keyOf(kind, object.metadata);
    const table = this.#table(kind);
    const before = table.objects.get(key) ?? null;
    this.#version++;
    const metadata = {
      ...object.metadata,
      uid: before?.object.metadata.uid ?? object.metadata.uid ?? randomUUID(),
      creationTimestamp:
        before?.object.metadata.creationTimestamp ?? object.metadata.creationTimestamp ?? timestamp(this.#clock.now()),
      resourceVersion: String(this.#version),
    };
    const after = new Revision(this.#version, inOrder(kind, { ...object, metadata }));
    table.objects.set(key, after);
    if (before === null) table.keys = null;
    this.#changed(table, { version: this.#version, key, before, after, last: after });
    return after;
  }

  /** Takes objects over as another server had them, with their versions; the history begins with them. */
  restore(kind: Kind, objects: readonly KubernetesObject[], version: number): void {
    const table = this.#table(kind);
    for (const object of objects) {
      const revision = new Revision(Number(object.metadata.resourceVersion), inOrder(kind, object));
      table.objects.set(keyOf(kind, object.metadata), revision);
    }
    table.keys = null;
    this.#version = version;
    this.forget();
  }

  /** Removes an object; what remains in the history is its last state with the version of the removal. */
  remove(kind: Kind, key: string): Revision | undefined {
    const table = this.#table(kind);
    const before = table.objects.get(key);
    if (before === undefined) return undefined;
    this.#version++;
    const metadata = { ...before.object.metadata, resourceVersion: String(this.#version) };
    const last = new Revision(this.#version, inOrder(kind, { ...before.object, metadata }));
    table.objects.delete(key);
    table.keys = null;
    this.#changed(table, { version: this.#version, key, before, after: null, last });
    return last;
  }

  /** Counts on without a change: other resources of a real cluster do that all the time. */
  skip(versions: number): void {
    this.#version += versions;
  }

  /** Forgets the changes up to now, as a server does that starts: older watches and lists are too old from here on. */
  forget(): void {
    this.#oldestWatch = this.#version;
    this.#oldestList = this.#version;
    for (const table of this.#tables.values()) {
      table.dropped = table.changes.at(-1)?.version ?? table.dropped;
      table.changes = [];
    }
  }

  /** Goes back to an earlier counter, as etcd restored from a backup does. The objects stay as they are. */
  rewind(version: number): void {
    this.#version = version;
    this.forget();
    for (const table of this.#tables.values()) table.dropped = 0;
  }

  #table(kind: Kind): Table {
    const table = this.#tables.get(kind) ?? new Table();
    this.#tables.set(kind, table);
    return table;
  }

  #changed(table: Table, change: Change): void {
    table.changes.push(change);
    if (table.changes.length > HISTORY) {
      table.dropped = table.changes.splice(0, HISTORY / 2).at(-1)?.version ?? 0;
      this.#oldestWatch = Math.max(this.#oldestWatch, table.dropped);
      this.#oldestList = this.#oldestWatch;
    }
    for (const call of table.listeners) call();
  }
}

/** Where an object lies among its kind: its name, or namespace and name. */
export function keyOf(kind: Kind, { name, namespace }: { name: string; namespace?: string | undefined }): string {
  return kind.namespaced ? `${namespace ?? "default"}/${name}` : name;
}
