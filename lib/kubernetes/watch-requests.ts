/** The requests that keep a copy of a list true. Pure. */
import {
  ACCEPT_JSON,
  ACCEPT_METADATA,
  ACCEPT_METADATA_LIST,
  type Parameter,
  type Request,
  targetOf,
} from "./http-request.ts";
import type { Selection } from "./selection.ts";

/** What is watched, and what is kept of each object. */
export interface Collection {
  /** "/api/v1/nodes", see `pathOf` */
  readonly path: string;
  /** As kubectl's options of these names take them; "" for all. */
  readonly fieldSelector: string;
  readonly labelSelector: string;
  readonly selection: Selection;
  /** Whether only the metadata of the objects is asked for. */
  readonly isMetadataOnly: boolean;
}

const PAGE_SIZE = "500";

/** The list as events, ended by a bookmark with an annotation, and then what changes (Kubernetes 1.27; by default since 1.32). */
export function streamingList(collection: Collection, timeoutS: number): Request {
  return watchRequest(collection, timeoutS, [
    { name: "sendInitialEvents", value: "true" },
    { name: "resourceVersionMatch", value: "NotOlderThan" },
  ]);
}

/** What changes from a version on. */
export function watchFrom(collection: Collection, timeoutS: number, version: string): Request {
  return watchRequest(collection, timeoutS, [{ name: "resourceVersion", value: version }]);
}

/** A part of the list. @param next where it begins; "" for the first part */
export function page(collection: Collection, next: string): Request {
  return listRequest(collection, collection.isMetadataOnly, [
    { name: "limit", value: PAGE_SIZE },
    { name: "continue", value: next },
  ]);
}

/** One object, from a server that knows a version: one that has not reached it answers 504 with the cause ResourceVersionTooLarge. */
export function question(collection: Collection, version: string): Request {
  return listRequest(collection, true, [
    { name: "limit", value: "1" },
    { name: "resourceVersion", value: version },
    { name: "resourceVersionMatch", value: "NotOlderThan" },
  ]);
}

function watchRequest(collection: Collection, timeoutS: number, parameters: readonly Parameter[]): Request {
  const all: Parameter[] = [
    { name: "watch", value: "true" },
    { name: "allowWatchBookmarks", value: "true" },
    { name: "timeoutSeconds", value: `${timeoutS}` },
  ];
  for (const parameter of parameters) all.push(parameter);
  return get(collection, all, collection.isMetadataOnly ? ACCEPT_METADATA : ACCEPT_JSON);
}

function listRequest(collection: Collection, isMetadataOnly: boolean, parameters: readonly Parameter[]): Request {
  return get(collection, parameters, isMetadataOnly ? ACCEPT_METADATA_LIST : ACCEPT_JSON);
}

function get(collection: Collection, parameters: readonly Parameter[], accept: string): Request {
  const all: Parameter[] = [];
  for (const parameter of parameters) all.push(parameter);
  all.push({ name: "fieldSelector", value: collection.fieldSelector });
  all.push({ name: "labelSelector", value: collection.labelSelector });
  return { method: "GET", target: targetOf(collection.path, all), accept, contentType: "", body: "" };
}
