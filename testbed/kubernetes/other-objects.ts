/** Pods, namespaces, network policies, and the custom resource of the recordings. */
import type { JsonObject, KubernetesObject } from "./json.ts";

export interface PodParts {
  readonly name: string;
  readonly namespace?: string;
  /** None for a pod that waits for a node. */
  readonly nodeName?: string;
  /** The first is podIP. */
  readonly addresses?: readonly string[];
  readonly phase?: "Pending" | "Running" | "Succeeded" | "Failed" | "Unknown";
  readonly hostNetwork?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Named ports: `{ http: 8080 }`. */
  readonly ports?: Readonly<Record<string, number>>;
}

/** A pod; with an address it is Running unless said otherwise. */
export function pod(parts: PodParts): KubernetesObject {
  const { name, namespace = "default", addresses = [], labels, annotations, ports = {} } = parts;
  const phase = parts.phase ?? (addresses.length > 0 ? "Running" : "Pending");
  const [podIP] = addresses;
  const containerPorts = Object.entries(ports).map(([port, number]) => ({
    name: port,
    containerPort: number,
    protocol: "TCP",
  }));
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata: {
      name,
      namespace,
      generation: 1,
      ...(labels === undefined ? {} : { labels: { ...labels } }),
      ...(annotations === undefined ? {} : { annotations: { ...annotations } }),
    },
    spec: {
      containers: [container(containerPorts)],
      restartPolicy: "Always",
      terminationGracePeriodSeconds: 30,
      dnsPolicy: "ClusterFirst",
      ...(parts.nodeName === undefined ? {} : { nodeName: parts.nodeName }),
      ...(parts.hostNetwork === true ? { hostNetwork: true } : {}),
      securityContext: {},
      schedulerName: "default-scheduler",
      priority: 0,
      enableServiceLinks: true,
      preemptionPolicy: "PreemptLowerPriority",
    },
    status: {
      phase,
      ...(podIP === undefined ? {} : { podIP, podIPs: addresses.map((ip) => ({ ip })) }),
      qosClass: "BestEffort",
    },
  };
}

function container(ports: readonly JsonObject[]): JsonObject {
  return {
    name: "main",
    image: "images.example/team/app:v1",
    ...(ports.length === 0 ? {} : { ports }),
    resources: {},
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    imagePullPolicy: "IfNotPresent",
  };
}

export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): KubernetesObject {
  return {
    kind: "Namespace",
    apiVersion: "v1",
    metadata: { name, labels: { "kubernetes.io/metadata.name": name, ...labels } },
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
}

/** @param spec as it is after the server has filled it in: with policyTypes and protocols */
export function networkPolicy(name: string, inNamespace: string, spec: JsonObject): KubernetesObject {
  return {
    kind: "NetworkPolicy",
    apiVersion: "networking.k8s.io/v1",
    metadata: { name, namespace: inNamespace, generation: 1 },
    spec: { podSelector: {}, policyTypes: ["Ingress"], ...spec },
  };
}

export interface PeerNodeSpec {
  readonly addresses: readonly string[];
  readonly podCIDRs: readonly string[];
  readonly backend: "vxlan" | "host-gw" | "wireguard";
  readonly vni?: number;
  readonly publicKey?: string;
}

export function peerNode(name: string, spec: PeerNodeSpec): KubernetesObject {
  return { kind: "PeerNode", apiVersion: "podwire.dev/v1alpha1", metadata: { name }, spec: { ...spec } };
}
