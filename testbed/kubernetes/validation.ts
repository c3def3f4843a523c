/** What the server refuses, as far as an agent may meet it, and what it fills in. */
import { isIP } from "node:net";
import {
  type Cause,
  forbiddenValue,
  internalError,
  invalid,
  invalidValue,
  requiredValue,
  unsupportedValue,
} from "./failure.ts";
import { isObject, type JsonObject, type KubernetesObject } from "./json.ts";
import type { Kind } from "./kinds.ts";

const ANNOTATIONS_LIMIT = 256 * 1024;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/i;
const KEY_RULE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_RULE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/** @throws Failure 422 */
export function validate(kind: Kind, object: KubernetesObject): void {
  const causes = [...metadataCauses(object)];
  if (kind.kind === "Node") causes.push(...podCidrCauses(object));
  if (kind.kind === "PeerNode") causes.push(...peerNodeCauses(object));
  if (kind.kind === "NetworkPolicy") causes.push(...networkPolicyCauses(object));
  if (causes.length > 0) throw invalid({ name: object.metadata.name, group: kind.group, kind: kind.kind }, causes);
}

function* metadataCauses({ metadata }: KubernetesObject): Generator<Cause, void, void> {
  if (metadata.name === "") yield requiredValue("metadata.name", "name or generateName is required");
  else if (!SUBDOMAIN.test(metadata.name)) {
    yield invalidValue("metadata.name", JSON.stringify(metadata.name), SUBDOMAIN_RULE);
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    if (!KEY.test(key)) yield invalidValue("metadata.labels", JSON.stringify(key), KEY_RULE);
    if (!/^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/.test(value)) {
      yield invalidValue("metadata.labels", JSON.stringify(value), LABEL_RULE);
    }
  }
  let size = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    size += Buffer.byteLength(key) + Buffer.byteLength(value);
    if (!KEY.test(key)) yield invalidValue("metadata.annotations", JSON.stringify(key), KEY_RULE);
  }
  if (size > ANNOTATIONS_LIMIT) {
    const message = `Too long: may not be more than ${ANNOTATIONS_LIMIT} bytes`;
    yield { reason: "FieldValueTooLong", message, field: "metadata.annotations" };
  }
}

/** @throws Failure 422 when something that never changes would change */
export function validateUpdate(kind: Kind, before: KubernetesObject, after: KubernetesObject): void {
  if (after.metadata.uid === undefined || after.metadata.uid === before.metadata.uid) return;
  const cause = invalidValue("metadata.uid", JSON.stringify(after.metadata.uid), "field is immutable");
  throw invalid({ name: before.metadata.name, group: kind.group, kind: kind.kind }, [cause, cause]);
}

function podCidrCauses({ spec }: KubernetesObject): Cause[] {
  const cidrs = isObject(spec) && Array.isArray(spec.podCIDRs) ? (spec.podCIDRs as string[]) : [];
  const families = cidrs.map((cidr) => isIP(cidr.split("/")[0] ?? ""));
  if (cidrs.length < 2 || (cidrs.length === 2 && families[0] !== families[1])) return [];
  const shown = `[${cidrs.map((cidr) => JSON.stringify(cidr)).join(",")}]`;
  return [invalidValue("spec.podCIDRs", shown, "may specify no more than one CIDR for each IP family")];
}

const BACKENDS = ["vxlan", "host-gw", "wireguard"];

function peerNodeCauses({ spec }: KubernetesObject): Cause[] {
  const backend = isObject(spec) ? spec.backend : undefined;
  if (backend === undefined || BACKENDS.includes(String(backend))) return [];
  const supported = BACKENDS.map((name) => JSON.stringify(name));
  return [unsupportedValue("spec.backend", JSON.stringify(backend), supported)];
}

function* networkPolicyCauses({ spec }: KubernetesObject): Generator<Cause, void, void> {
  for (const [direction, side] of [
    ["ingress", "from"],
    ["egress", "to"],
  ] as const) {
    const rules = isObject(spec) && Array.isArray(spec[direction]) ? (spec[direction] as JsonObject[]) : [];
    for (const [i, rule] of rules.entries()) {
      const peers = Array.isArray(rule[side]) ? (rule[side] as JsonObject[]) : [];
      for (const [j, peer] of peers.entries()) yield* peerCauses(peer, `spec.${direction}[${i}].${side}[${j}]`);
    }
  }
}

function* peerCauses(peer: JsonObject, path: string): Generator<Cause, void, void> {
  const parts = Object.keys(peer).length;
  if (parts === 0) yield requiredValue(path, "must specify a peer");
  if (!isObject(peer.ipBlock)) return;
  if (parts > 1) yield forbiddenValue(path, "may not specify both ipBlock and another peer");
  const cidr = String(peer.ipBlock.cidr);
  const [address = "", length = ""] = cidr.split("/");
  const bits = isIP(address) === 4 ? 32 : 128;
  if (isIP(address) === 0 || !/^\d+$/.test(length) || Number(length) > bits) {
    const message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    yield invalidValue(`${path}.ipBlock.cidr`, JSON.stringify(cidr), message);
  } else if (bits === 32 && hasHostBits(address, Number(length))) {
    const message = "must not have bits set beyond the prefix length";
    yield invalidValue(`${path}.ipBlock.cidr`, JSON.stringify(cidr), message);
  }
}

function hasHostBits(address: string, length: number): boolean {
  const value = address.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
  return value % 2 ** (32 - length) !== 0;
}

/**
 * What an apply checks before: its errors are no refusals but failures of the server.
 * @throws Failure 500
 */
export function validateApplied(kind: Kind, object: KubernetesObject, unknown: readonly string[]): void {
  const type = `/${object.metadata.name}; ${object.apiVersion}, Kind=${kind.kind}`;
  const [first] = unknown;
  if (first !== undefined) {
    throw internalError(`failed to create typed patch object (${type}): .${first}: field not declared in schema`);
  }
  const time = isObject(object.spec) ? object.spec.renewTime : undefined;
  if (kind.kind !== "Lease" || typeof time !== "string" || !Number.isNaN(Date.parse(time))) return;
  throw internalError(
    `failed to convert new object (${type}) to proper version: unable to convert unstructured object to ${object.apiVersion}, Kind=Lease: parsing time ${JSON.stringify(time)} as "2006-01-02T15:04:05.000000Z07:00": cannot parse ${JSON.stringify(time)} as "2006"`,
  );
}

/** What the server adds to an object that a client creates. */
export function withDefaults(kind: Kind, object: KubernetesObject): KubernetesObject {
  const { metadata } = object;
  const spec: JsonObject = isObject(object.spec) ? { ...object.spec } : {};
  if (kind.kind === "Namespace") {
    const labels = { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name };
    const settled = { spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } };
    return { ...object, metadata: { ...metadata, labels }, ...settled };
  }
  if (kind.kind === "Pod") return { ...object, status: { phase: "Pending", qosClass: "BestEffort" } };
  if (kind.kind === "Node") return { ...object, spec: { ...spec, taints: taintsOf(spec) } };
  if (kind.kind === "NetworkPolicy") return { ...object, spec: policySpec(spec) };
  return object;
}

/** A node that registers is not ready yet. */
function taintsOf(spec: JsonObject): unknown[] {
  const taints = Array.isArray(spec.taints) ? spec.taints : [];
  const notReady = { key: "node.kubernetes.io/not-ready", effect: "NoSchedule" };
  const there = taints.some((one) => isObject(one) && one.key === notReady.key && one.effect === notReady.effect);
  return there ? taints : [...taints, notReady];
}

function policySpec(spec: JsonObject): JsonObject {
  const rules = (value: unknown): JsonObject[] => (Array.isArray(value) ? (value as JsonObject[]) : []);
  const withProtocols = (list: unknown): JsonObject[] =>
    rules(list).map((rule) => ({
      ...rule,
      ...(rule.ports === undefined ? {} : { ports: rules(rule.ports).map((port) => ({ protocol: "TCP", ...port })) }),
    }));
  return {
    podSelector: spec.podSelector ?? {},
    ...(rules(spec.ingress).length > 0 ? { ingress: withProtocols(spec.ingress) } : {}),
    ...(rules(spec.egress).length > 0 ? { egress: withProtocols(spec.egress) } : {}),
    policyTypes: spec.policyTypes ?? (rules(spec.egress).length > 0 ? ["Ingress", "Egress"] : ["Ingress"]),
  };
}
