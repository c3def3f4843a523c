/** What the server knows of the fields of its kinds: which lists are merged and how, and which fields there are. */
import { isObject, type JsonObject } from "./json.ts";
import type { Kind } from "./kinds.ts";

/** How a list is merged: as one value, as a set, or item by item with these keys. */
export type ListType = "atomic" | "set" | readonly string[];

const LISTS: Readonly<Record<string, ListType>> = {
  "metadata.finalizers": "set",
  "metadata.ownerReferences": ["uid"],
  "status.conditions": ["type"],
  "Node status.addresses": ["type"],
  "Node spec.podCIDRs": "set",
  "Pod spec.containers": ["name"],
  "Pod spec.initContainers": ["name"],
  "Pod spec.volumes": ["name"],
  "Pod spec.containers.ports": ["containerPort", "protocol"],
  "Pod spec.initContainers.ports": ["containerPort", "protocol"],
  "Pod status.podIPs": ["ip"],
  "PeerNode spec.addresses": "set",
};

/** Maps that change hands as a whole. */
const ATOMIC_MAPS = new Set(["NetworkPolicy spec.podSelector", "Pod spec.nodeSelector"]);

/** Structures, which nobody owns as such. */
const STRUCTURES = new Set(["metadata", "spec", "status", "status.nodeInfo", "status.daemonEndpoints"]);

/** @param path with dots, without the places in lists */
export function listType(kind: Kind, path: string): ListType {
  return LISTS[path] ?? LISTS[`${kind.kind} ${path}`] ?? "atomic";
}

export function isAtomicMap(kind: Kind, path: string): boolean {
  return ATOMIC_MAPS.has(`${kind.kind} ${path}`);
}

export function isStructure(kind: Kind, path: string): boolean {
  return path === "metadata" || (!kind.custom && STRUCTURES.has(path));
}

/** The key of an item as managed fields write it: `k:{"type":"Ready"}`. */
export function itemKey(keys: readonly string[], item: unknown): string {
  const found = isObject(item) ? item : {};
  return `k:${JSON.stringify(Object.fromEntries(keys.map((key) => [key, found[key]])))}`;
}

const TOP_LEVEL: Readonly<Record<string, readonly string[]>> = {
  ConfigMap: ["data", "binaryData", "immutable"],
  Event: [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "series",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
  ],
};

/** Fields below spec, of kinds for which all are listed. */
const SPEC: Readonly<Record<string, readonly string[]>> = {
  Lease: [
    "holderIdentity",
    "leaseDurationSeconds",
    "acquireTime",
    "renewTime",
    "leaseTransitions",
    "strategy",
    "preferredHolder",
  ],
  Node: ["podCIDR", "podCIDRs", "providerID", "unschedulable", "taints", "configSource", "externalID"],
  NetworkPolicy: ["podSelector", "policyTypes", "ingress", "egress"],
  PeerNode: ["addresses", "podCIDRs", "backend", "vni", "publicKey"],
};

/** An object without the fields that its kind does not have, and the paths of those. */
export function pruned(kind: Kind, object: JsonObject): { object: JsonObject; unknown: string[] } {
  const top = ["kind", "apiVersion", "metadata", ...(TOP_LEVEL[kind.kind] ?? ["spec", "status"])];
  const unknown = Object.keys(object).filter((key) => !top.includes(key));
  const result = Object.fromEntries(Object.entries(object).filter(([key]) => top.includes(key)));
  const known = SPEC[kind.kind];
  if (known !== undefined && isObject(object.spec)) {
    unknown.push(...Object.keys(object.spec).flatMap((key) => (known.includes(key) ? [] : [`spec.${key}`])));
    result.spec = Object.fromEntries(Object.entries(object.spec).filter(([key]) => known.includes(key)));
  }
  return { object: result, unknown };
}
