/** GET of a collection: consistent lists, pages, lists from the cache. */
import type { Answer } from "./answer.ts";
import type { Clock } from "./clock.ts";
import { badRequest, expired, versionTooLarge } from "./failure.ts";
import { prettyGoJson } from "./json.ts";
import type { Kind } from "./kinds.ts";
import type { ListOptions } from "./options.ts";
import { listParts, type View } from "./presentation.ts";
import { fieldSelector, labelSelector, type Selector } from "./selectors.ts";
import type { Revision, Store } from "./store.ts";

/** So long a server waits for a version that it has not reached, ms. */
const VERSION_PATIENCE = 3000;

export interface Collection {
  readonly kind: Kind;
  /** "" for all. */
  readonly namespace: string;
  /** "" for all. */
  readonly name: string;
}

/** Which objects of a collection are meant. @throws Failure 400 */
export function selectorOf({ kind, namespace, name }: Collection, options: ListOptions): Selector {
  const labels = labelSelector(options.labelSelector);
  const fields = fieldSelector(kind, options.fieldSelector);
  return (object) =>
    (!kind.namespaced || namespace === "" || object.metadata.namespace === namespace) &&
    (name === "" || object.metadata.name === name) &&
    labels(object) &&
    fields(object);
}

export interface Page {
  readonly items: readonly Revision[];
  readonly resourceVersion: number;
  readonly continue: string;
  readonly remaining: number | undefined;
}

/** A position in a list, as the server hands it out. */
interface Position {
  /** The version of the list; -1 for whatever is current. */
  readonly version: number;
  /** The key at which to go on. */
  readonly start: string;
}

/**
 * @param staleBy how many versions the cache is behind, for lists that take what it has
 * @throws Failure 400, 410, 504
 */
export async function pageOf(
  { store, clock, staleBy = 0 }: { store: Store; clock: Clock; staleBy?: number },
  collection: Collection,
  options: ListOptions,
): Promise<Page> {
  const selects = selectorOf(collection, options);
  const position = options.continueToken === "" ? null : positionIn(options);
  const { version, items } = await snapshot({ store, clock, staleBy }, collection.kind, options, position);
  const from = position === null ? 0 : items.findIndex((item) => keyIn(collection.kind, item) >= position.start);
  const wanted = (from < 0 ? [] : items.slice(from)).filter(({ object }) => selects(object));
  const limit = limitOf(options);
  const page = wanted.slice(0, limit);
  const last = page.at(-1);
  const more = wanted.length > page.length && last !== undefined;
  const selective = options.labelSelector !== "" || options.fieldSelector !== "";
  return {
    items: page,
    resourceVersion: version,
    continue: more ? tokenOf({ version, start: `${keyIn(collection.kind, last)}\0` }) : "",
    remaining: more && !selective ? wanted.length - page.length : undefined,
  };
}

/** The cache gives all it has, whatever the limit. */
function limitOf({ limit, resourceVersion, match }: ListOptions): number {
  const fromCache = resourceVersion === "0" && match !== "Exact";
  return limit === 0 || fromCache ? Number.POSITIVE_INFINITY : limit;
}

async function snapshot(
  { store, clock, staleBy }: { store: Store; clock: Clock; staleBy: number },
  kind: Kind,
  { resourceVersion, match }: ListOptions,
  position: Position | null,
): Promise<{ version: number; items: Revision[] }> {
  if (position !== null && position.version >= 0) {
    if (position.version < store.oldestList) {
      throw expired(CONTINUE_EXPIRED, tokenOf({ version: -1, start: position.start }, ""));
    }
    return { version: position.version, items: store.listAt(kind, position.version) };
  }
  const asked = Number(resourceVersion);
  if (asked > store.version) {
    await new Promise<void>((resolve) => void clock.after(VERSION_PATIENCE, resolve));
    if (asked > store.version) throw versionTooLarge(resourceVersion, store.version);
  }
  if (match === "Exact") {
    if (asked < store.oldestList) throw expired("The resourceVersion for the provided list is too old.");
    return { version: asked, items: store.listAt(kind, asked) };
  }
  if (resourceVersion !== "" && staleBy > 0) {
    const version = Math.max(store.version - staleBy, store.oldestList, asked);
    return { version, items: store.listAt(kind, version) };
  }
  return { version: store.version, items: store.list(kind) };
}

const CONTINUE_EXPIRED =
  "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

function keyIn(kind: Kind, { object: { metadata } }: Revision): string {
  return kind.namespaced ? `${metadata.namespace}/${metadata.name}` : metadata.name;
}

/** A token is base64 of JSON; that of an expired list has no slash before the key. */
function tokenOf({ version, start }: Position, slash = "/"): string {
  const text = JSON.stringify({ v: "meta.k8s.io/v1", rv: version, start: `${slash}${start}` });
  return Buffer.from(text).toString("base64url");
}

function positionIn({ continueToken, resourceVersion }: ListOptions): Position {
  let token: { rv?: unknown; start?: unknown };
  try {
    token = JSON.parse(Buffer.from(continueToken, "base64url").toString()) as typeof token;
  } catch {
    throw badRequest(
      "invalid continue token: continue key is not valid: invalid character '\\u0081' looking for beginning of value",
    );
  }
  if (typeof token.rv !== "number" || typeof token.start !== "string") {
    throw badRequest("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion");
  }
  if (resourceVersion !== "" && resourceVersion !== "0") {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  return { version: token.rv, start: token.start.replace(/^\//, "") };
}

export interface PageForm {
  readonly kind: Kind;
  readonly page: Page;
  readonly view: View;
  readonly pretty: boolean;
  /** Compressed, although nobody asked for it. */
  readonly compress: boolean;
}

/** Sends a page: item by item as the real server does; what is only metadata, compressed or indented as a whole. */
export async function sendPage(answer: Answer, { kind, page, view, pretty, compress }: PageForm): Promise<void> {
  const metadata = {
    resourceVersion: String(page.resourceVersion),
    continue: page.continue,
    remainingItemCount: page.remaining,
  };
  const parts = listParts(kind, page.items, metadata, view);
  answer.begin(200, [["Content-Type", "application/json"]]);
  if (!pretty && view === "whole" && !compress && !answer.acceptsGzip) {
    for (const part of parts) await answer.write(part);
    return answer.end();
  }
  const body = Buffer.concat([...parts]);
  if (pretty) {
    await answer.write(Buffer.from(prettyGoJson(JSON.parse(body.toString()))));
    return answer.end();
  }
  if (await answer.compressed(body, compress)) return;
  if (view === "metadata") await answer.write(body);
  else for (const part of listParts(kind, page.items, metadata, view)) await answer.write(part);
  await answer.end();
}
