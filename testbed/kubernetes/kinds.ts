/** The resources that the server has, and what is different about each of them. */
import { isObject, type JsonObject, type KubernetesObject, sorted } from "./json.ts";

export interface Kind {
  readonly group: string;
  readonly version: string;
  /** As in the path: `nodes`. */
  readonly plural: string;
  readonly singular: string;
  readonly shortName: string;
  /** As in objects: `Node`. */
  readonly kind: string;
  readonly namespaced: boolean;
  /** Defined by a CustomResourceDefinition: keys come in the order of the alphabet, and there is no strategic merge. */
  readonly custom: boolean;
  readonly hasStatus: boolean;
  /** Counts changes of its spec in metadata.generation. */
  readonly generations: boolean;
  /** Events have no watch cache: their errors come from etcd. */
  readonly cached: boolean;
  /** Field selectors beside metadata.name and metadata.namespace: the path, and what a missing field counts as. */
  readonly selectable: Readonly<Record<string, string>>;
  /** What a bookmark has beside kind, apiVersion and metadata. */
  readonly empty: JsonObject;
  /** The members of an object in the order in which the server writes them; others follow. */
  readonly order: readonly string[];
}

const BUILT_IN = {
  group: "",
  version: "v1",
  custom: false,
  hasStatus: false,
  generations: false,
  cached: true,
  selectable: {},
  empty: {},
  order: ["kind", "apiVersion", "metadata", "spec", "status"],
} as const;

const EMPTY_NODE = {
  spec: {},
  status: {
    daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
    nodeInfo: {
      machineID: "",
      systemUUID: "",
      bootID: "",
      kernelVersion: "",
      osImage: "",
      containerRuntimeVersion: "",
      kubeletVersion: "",
      kubeProxyVersion: "",
      operatingSystem: "",
      architecture: "",
    },
  },
};

const EMPTY_EVENT = {
  involvedObject: {},
  source: {},
  firstTimestamp: null,
  lastTimestamp: null,
  eventTime: null,
  reportingComponent: "",
  reportingInstance: "",
};

const NODES: Kind = {
  ...BUILT_IN,
  plural: "nodes",
  singular: "node",
  shortName: "no",
  kind: "Node",
  namespaced: false,
  hasStatus: true,
  selectable: { "spec.unschedulable": "false" },
  empty: EMPTY_NODE,
};

const PODS: Kind = {
  ...BUILT_IN,
  plural: "pods",
  singular: "pod",
  shortName: "po",
  kind: "Pod",
  namespaced: true,
  hasStatus: true,
  generations: true,
  selectable: {
    "spec.nodeName": "",
    "spec.restartPolicy": "",
    "spec.schedulerName": "",
    "spec.serviceAccountName": "",
    "spec.hostNetwork": "false",
    "status.phase": "",
    "status.podIP": "",
    "status.nominatedNodeName": "",
  },
  empty: { spec: { containers: null }, status: {} },
};

const NAMESPACES: Kind = {
  ...BUILT_IN,
  plural: "namespaces",
  singular: "namespace",
  shortName: "ns",
  kind: "Namespace",
  namespaced: false,
  hasStatus: true,
  selectable: { "status.phase": "" },
  empty: { spec: {}, status: {} },
};

const CONFIGMAPS: Kind = {
  ...BUILT_IN,
  plural: "configmaps",
  singular: "configmap",
  shortName: "cm",
  kind: "ConfigMap",
  namespaced: true,
};

const EVENTS: Kind = {
  ...BUILT_IN,
  plural: "events",
  singular: "event",
  shortName: "ev",
  kind: "Event",
  namespaced: true,
  cached: false,
  selectable: { "involvedObject.kind": "", "involvedObject.name": "", reason: "", type: "" },
  empty: EMPTY_EVENT,
};

const NETWORKPOLICIES: Kind = {
  ...BUILT_IN,
  group: "networking.k8s.io",
  plural: "networkpolicies",
  singular: "networkpolicy",
  shortName: "netpol",
  kind: "NetworkPolicy",
  namespaced: true,
  generations: true,
  empty: { spec: { podSelector: {} } },
};

const LEASES: Kind = {
  ...BUILT_IN,
  group: "coordination.k8s.io",
  plural: "leases",
  singular: "lease",
  shortName: "",
  kind: "Lease",
  namespaced: true,
  empty: { spec: {} },
};

/** The custom resource of the recordings. */
const PEERNODES: Kind = {
  ...BUILT_IN,
  group: "podwire.dev",
  version: "v1alpha1",
  plural: "peernodes",
  singular: "peernode",
  shortName: "pn",
  kind: "PeerNode",
  namespaced: false,
  custom: true,
  hasStatus: true,
  generations: true,
};

export const KINDS: readonly Kind[] = [CONFIGMAPS, EVENTS, NAMESPACES, NODES, PODS, NETWORKPOLICIES, LEASES, PEERNODES];

/** The kind that an object says it is. */
export function kindOf(object: { kind: string; apiVersion: string }): Kind {
  const found = KINDS.find((kind) => kind.kind === object.kind && apiVersionOf(kind) === object.apiVersion);
  if (found === undefined) throw new Error(`the testbed's server has no ${object.kind} of ${object.apiVersion}`);
  return found;
}

export function findKind(group: string, version: string, plural: string): Kind | undefined {
  return KINDS.find((kind) => kind.group === group && kind.version === version && kind.plural === plural);
}

/** `v1`, or `coordination.k8s.io/v1`. */
export function apiVersionOf({ group, version }: { group: string; version: string }): string {
  return group === "" ? version : `${group}/${version}`;
}

const METADATA = [
  "name",
  "generateName",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "labels",
  "annotations",
  "ownerReferences",
  "finalizers",
  "managedFields",
];
const CONDITION = ["type", "status", "lastHeartbeatTime", "lastProbeTime", "lastTransitionTime", "reason", "message"];
const NODE_SPEC = ["podCIDR", "podCIDRs", "providerID", "unschedulable", "taints"];
const NODE_STATUS = [
  "capacity",
  "allocatable",
  "phase",
  "conditions",
  "addresses",
  "daemonEndpoints",
  "nodeInfo",
  "images",
];

/** An object with its members in the order in which the server writes them, and without empty ones. */
export function inOrder(kind: Kind, object: KubernetesObject): KubernetesObject {
  const typed = { ...object, kind: kind.kind, apiVersion: apiVersionOf(kind) };
  if (kind.custom) return sorted(typed) as KubernetesObject;
  const result = arranged(typed, kind.order);
  result.metadata = metadataInOrder(object.metadata);
  if (kind.kind === "Node" && isObject(object.spec)) result.spec = arranged(object.spec, NODE_SPEC);
  if (isObject(object.status)) result.status = statusInOrder(object.status);
  return result as KubernetesObject;
}

function metadataInOrder(metadata: JsonObject): JsonObject {
  const result = arranged(metadata, METADATA);
  for (const name of ["labels", "annotations"]) {
    const map = result[name];
    if (!isObject(map)) continue;
    if (Object.keys(map).length === 0) delete result[name];
    else result[name] = sorted(map);
  }
  return result;
}

function statusInOrder(status: JsonObject): JsonObject {
  const result = arranged(status, NODE_STATUS);
  for (const name of ["capacity", "allocatable"]) if (isObject(result[name])) result[name] = sorted(result[name]);
  if (Array.isArray(result.conditions)) {
    result.conditions = result.conditions.map((one) => (isObject(one) ? arranged(one, CONDITION) : one));
  }
  return result;
}

function arranged(object: JsonObject, order: readonly string[]): JsonObject {
  const first = order.filter((key) => object[key] !== undefined);
  const rest = Object.keys(object).filter((key) => !order.includes(key) && object[key] !== undefined);
  return Object.fromEntries([...first, ...rest].map((key) => [key, object[key]]));
}
