/** Distributions of Kubernetes whose nodes are not as `USUAL` has them. docs/kubernetes.md says the rest. */
import { settingsText } from "./values.ts";

export interface Distribution {
  /** The folder in deploy/kustomize. */
  readonly name: string;
  /** What a person should know, for the file's head. */
  readonly title: string;
  readonly binDir?: string;
  readonly confDir?: string;
  /** The members of network.json that differ. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** SELinux keeps containers away from the node's directories and settings, unless they have another type. */
  readonly seLinux?: boolean;
  /** Labels of the nodes that get Podwire; else all. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** Whether the account needs one of OpenShift's security context constraints. */
  readonly constraints?: boolean;
}

export const DISTRIBUTIONS: readonly Distribution[] = [
  {
    name: "k3s",
    title:
      "k3s, started with --flannel-backend=none --disable-network-policy.\nOlder versions have no data/cni: there the plugins are in /var/lib/rancher/k3s/data/current/bin.",
    binDir: "/var/lib/rancher/k3s/data/cni",
    confDir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    settings: { clusterCIDRs: ["10.42.0.0/16"] },
  },
  {
    name: "rke2",
    title: "RKE2 with `cni: none`.",
    settings: { clusterCIDRs: ["10.42.0.0/16"] },
  },
  {
    name: "microk8s",
    title: "MicroK8s, after its own network (Calico) was removed.",
    binDir: "/var/snap/microk8s/current/opt/cni/bin",
    confDir: "/var/snap/microk8s/current/args/cni-network",
    settings: { clusterCIDRs: ["10.1.0.0/16"] },
  },
  {
    name: "microshift",
    title: "MicroShift without its own network.",
    settings: { clusterCIDRs: ["10.42.0.0/16"] },
    seLinux: true,
    constraints: true,
  },
  {
    name: "openshift",
    title:
      "OpenShift. Multus reads confDir; without Multus that is /etc/kubernetes/cni/net.d.\nIts nodes have no podCIDRs unless kube-controller-manager is told to give them: without podCIDRs the agent waits.",
    binDir: "/var/lib/cni/bin",
    confDir: "/var/run/multus/cni/net.d",
    settings: { clusterCIDRs: ["10.128.0.0/14"] },
    seLinux: true,
    constraints: true,
  },
  {
    name: "selinux",
    title: "Nodes with SELinux enforcing, otherwise as in podwire.yaml.",
    seLinux: true,
  },
  {
    name: "from-flannel",
    title:
      "The way from flannel, node by node: only nodes with the label get Podwire, which speaks with flannel's nodes.\ndocs/from-flannel.md has the steps.",
    settings: { network: "cbr0", clusterCIDRs: ["10.244.0.0/16"], flannelAnnotations: true },
    nodeSelector: { "podwire.dev/network": "podwire" },
  },
];

/** The type of processes that SELinux lets do what root may. */
export const SELINUX_TYPE = "spc_t";

/** The patch of the ConfigMap; null if there is nothing to change. */
export function settingsPatch({ settings }: Distribution): object | null {
  if (settings === undefined) return null;
  return patchOf("v1", "ConfigMap", { data: { "network.json": settingsText(settings) } });
}

/** The patch of the DaemonSet; null if there is nothing to change. */
export function daemonSetPatch({ binDir, confDir, seLinux, nodeSelector }: Distribution): object | null {
  const volumes = [
    ...(binDir === undefined ? [] : [{ name: "cni-bin", hostPath: { path: binDir } }]),
    ...(confDir === undefined ? [] : [{ name: "cni-conf", hostPath: { path: confDir } }]),
  ];
  const spec = {
    ...(nodeSelector === undefined ? {} : { nodeSelector }),
    ...(seLinux === true ? { securityContext: { seLinuxOptions: { type: SELINUX_TYPE } } } : {}),
    ...(volumes.length === 0 ? {} : { volumes }),
  };
  if (Object.keys(spec).length === 0) return null;
  return patchOf("apps/v1", "DaemonSet", { spec: { template: { spec } } });
}

function patchOf(apiVersion: string, kind: string, rest: object): object {
  return { apiVersion, kind, metadata: { name: "podwire", namespace: "podwire" }, ...rest };
}

/** Lets the account's pods use the node, on OpenShift and its relatives. */
export function constraintsBinding(account: string, namespace: string): object {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name: "podwire-privileged", namespace },
    roleRef: {
      apiGroup: "rbac.authorization.k8s.io",
      kind: "ClusterRole",
      name: "system:openshift:scc:privileged",
    },
    subjects: [{ kind: "ServiceAccount", name: account, namespace }],
  };
}
