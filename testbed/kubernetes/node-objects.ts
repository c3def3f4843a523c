/** Objects as clusters have them: nodes of kubeadm, kind, k3s and of clouds, pods, namespaces, network policies. */
import { createHash } from "node:crypto";
import type { JsonObject, KubernetesObject, ManagedFields } from "./json.ts";

/** Who set the cluster up; it shows in labels, annotations and versions. */
export type Flavour = "plain" | "kubeadm" | "kind" | "k3s" | "flannel" | "cloud";

export interface NodeParts {
  readonly name: string;
  /** InternalIP, in the order of the kubelet; none for a node that its cloud provider has not seen yet. */
  readonly addresses?: readonly string[];
  /** None for a node that the controller has not given any yet. */
  readonly podCidrs?: readonly string[];
  readonly flavour?: Flavour;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Whether conditions say Ready. */
  readonly ready?: boolean;
  /** How many images the kubelet reports: 30 make 9 kB. */
  readonly images?: number;
  /** The fields' owners, as three programs leave them: 2 kB more. */
  readonly managed?: boolean;
}

const TIME = "2026-11-29T12:00:00Z";

/** A Node with addresses and podCIDRs as given, Ready unless said otherwise. */
export function node(parts: NodeParts): KubernetesObject {
  const { name, addresses = [], podCidrs = [], flavour = "plain", ready = true, images = 0 } = parts;
  const labels = { ...systemLabels(name), ...FLAVOURS[flavour].labels, ...parts.labels };
  const annotations = {
    "node.alpha.kubernetes.io/ttl": "0",
    "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    ...flavourAnnotations(flavour, name, addresses[0] ?? ""),
    ...parts.annotations,
  };
  const [first] = podCidrs;
  return {
    kind: "Node",
    apiVersion: "v1",
    metadata: {
      name,
      labels,
      annotations,
      ...(parts.managed === true ? { managedFields: owners(labels, annotations, podCidrs) } : {}),
    },
    spec: {
      ...(first === undefined ? {} : { podCIDR: first, podCIDRs: [...podCidrs] }),
      ...FLAVOURS[flavour].spec(name),
    },
    status: {
      capacity: {
        cpu: "4",
        "ephemeral-storage": "101430960Ki",
        "hugepages-2Mi": "0",
        memory: "8029780Ki",
        pods: "110",
      },
      allocatable: {
        cpu: "4",
        "ephemeral-storage": "93478772582",
        "hugepages-2Mi": "0",
        memory: "7927380Ki",
        pods: "110",
      },
      conditions: conditions(ready, flavour),
      addresses: [
        ...addresses.map((address) => ({ type: "InternalIP", address })),
        { type: "Hostname", address: name },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      nodeInfo: nodeInfo(name, flavour),
      ...(images === 0 ? {} : { images: Array.from({ length: images }, (_, i) => image(name, i)) }),
    },
  };
}

/**
 * One of thousands of nodes: 9 kB with 30 images, a podCIDR of each family, an address from 10.128.0.0/10.
 * @param index 0 to 65,535
 */
export function manyNode(index: number): KubernetesObject {
  const [high, low] = [index >> 8, index & 255];
  return node({
    name: `node-${String(index).padStart(5, "0")}`,
    addresses: [`10.${128 + (high >> 6)}.${high & 63}.${low}`],
    podCidrs: [`10.${high}.${low}.0/24`, `fd00:244:0:${index.toString(16)}::/64`],
    flavour: "flannel",
    images: 30,
    managed: true,
  });
}

function systemLabels(name: string): Record<string, string> {
  return {
    "beta.kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": "linux",
  };
}

interface FlavourParts {
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: (name: string) => JsonObject;
  readonly kubelet: string;
  readonly system: string;
  readonly runtime: string;
}

const PLAIN: FlavourParts = {
  labels: {},
  spec: () => ({}),
  kubelet: "v1.36.2",
  system: "Debian GNU/Linux 13 (trixie)",
  runtime: "containerd://2.1.4",
};

const FLAVOURS: Readonly<Record<Flavour, FlavourParts>> = {
  plain: PLAIN,
  flannel: PLAIN,
  kubeadm: { ...PLAIN, labels: { "node.kubernetes.io/exclude-from-external-load-balancers": "" } },
  kind: { ...PLAIN, spec: (name) => ({ providerID: `kind://docker/kind/${name}` }) },
  k3s: {
    ...PLAIN,
    labels: { "node.kubernetes.io/instance-type": "k3s", "beta.kubernetes.io/instance-type": "k3s" },
    spec: (name) => ({ providerID: `k3s://${name}` }),
    kubelet: "v1.36.2+k3s1",
    runtime: "containerd://2.1.4-k3s1",
  },
  cloud: {
    ...PLAIN,
    labels: { "topology.kubernetes.io/region": "region-1", "topology.kubernetes.io/zone": "zone-a" },
    spec: () => ({
      taints: [{ key: "node.cloudprovider.kubernetes.io/uninitialized", value: "true", effect: "NoSchedule" }],
    }),
  },
};

function flavourAnnotations(flavour: Flavour, name: string, address: string): Record<string, string> {
  if (flavour === "kubeadm" || flavour === "kind") {
    return { "kubeadm.alpha.kubernetes.io/cri-socket": "unix:///run/containerd/containerd.sock" };
  }
  if (flavour === "k3s") {
    return {
      "alpha.kubernetes.io/provided-node-ip": address,
      "k3s.io/hostname": name,
      "k3s.io/internal-ip": address,
      ...flannelAnnotations(name, address),
    };
  }
  return flavour === "flannel" ? flannelAnnotations(name, address) : {};
}

function flannelAnnotations(name: string, address: string): Record<string, string> {
  const mac = `8e:1b:${digest(name)
    .slice(0, 8)
    .replace(/..(?=.)/g, "$&:")}`;
  return {
    "flannel.alpha.coreos.com/backend-data": JSON.stringify({ VNI: 1, VtepMAC: mac }),
    "flannel.alpha.coreos.com/backend-type": "vxlan",
    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
    "flannel.alpha.coreos.com/public-ip": address,
  };
}

function conditions(ready: boolean, flavour: Flavour): JsonObject[] {
  const condition = (type: string, status: string, reason: string, message: string): JsonObject => ({
    type,
    status,
    lastHeartbeatTime: TIME,
    lastTransitionTime: TIME,
    reason,
    message,
  });
  const network = condition("NetworkUnavailable", "False", "FlannelIsUp", "Flannel is running on this node");
  return [
    ...(flavour === "flannel" ? [network] : []),
    condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ready
      ? condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")
      : condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
  ];
}

function nodeInfo(name: string, flavour: Flavour): JsonObject {
  const id = digest(name);
  return {
    machineID: id.slice(0, 32),
    systemUUID: `4c4c4544-0042-4710-8052-${id.slice(0, 12)}`,
    bootID: `d2d5d6f2-8b8a-4c6b-9e0e-${id.slice(12, 24)}`,
    kernelVersion: "6.12.57-amd64",
    osImage: FLAVOURS[flavour].system,
    containerRuntimeVersion: FLAVOURS[flavour].runtime,
    kubeletVersion: FLAVOURS[flavour].kubelet,
    kubeProxyVersion: "",
    operatingSystem: "linux",
    architecture: "amd64",
  };
}

function image(name: string, index: number): JsonObject {
  const repository = `images.example/team/application-${index}`;
  const hash = digest(`${name} ${index}`);
  const sizeBytes = 1_000_000 + Number.parseInt(hash.slice(0, 7), 16);
  return { names: [`${repository}@sha256:${hash}`, `${repository}:v1.${index}.0`], sizeBytes };
}

/** The fields as kubelet, controller-manager and a network agent own them. */
function owners(
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
  podCidrs: readonly string[],
): ManagedFields[] {
  const fields = (keys: readonly string[]): JsonObject => Object.fromEntries(keys.map((key) => [key, {}]));
  const named = (map: Readonly<Record<string, string>>): JsonObject =>
    fields([".", ...Object.keys(map).map((key) => `f:${key}`)]);
  const cidrs = fields([".", ...podCidrs.map((cidr) => `v:${JSON.stringify(cidr)}`)]);
  const entry = (manager: string, fieldsV1: JsonObject): ManagedFields => ({
    manager,
    operation: "Update",
    apiVersion: "v1",
    time: TIME,
    fieldsType: "FieldsV1",
    fieldsV1,
  });
  return [
    entry("kubelet", { "f:metadata": { "f:annotations": named(annotations), "f:labels": named(labels) } }),
    entry("kube-controller-manager", { "f:spec": { "f:podCIDR": {}, "f:podCIDRs": cidrs } }),
  ];
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
