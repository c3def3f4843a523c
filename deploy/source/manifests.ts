/** The objects as YAML, with comments for who changes them. */
import {
  account,
  binding,
  daemonSet,
  namespace,
  role,
  settings,
  taintBinding,
  taintRole,
  uninstaller,
} from "./objects.ts";
import type { Values } from "./values.ts";
import { type Comment, yamlOf } from "./yaml.ts";

const POD = ["spec", "template", "spec"] as const;
const AGENT = [...POD, "containers", 0] as const;

const SETTINGS: readonly Comment[] = [
  [
    ["data"],
    `The network's settings, the same on all nodes. docs/kubernetes.md lists all of them.
clusterCIDRs are the networks of all pods: what kubeadm init got as --pod-network-cidr, and kube-controller-manager
has as --cluster-cidr. With IPv6: ["10.244.0.0/16", "fd00:10:244::/56"].
The agent reads this when it starts. After a change: kubectl -n podwire rollout restart daemonset/podwire`,
  ],
];

const DAEMON_SET: readonly Comment[] = [
  [["spec", "updateStrategy"], "Pods go on while the agent is replaced."],
  [[...POD, "hostNetwork"], "There is no network for pods before the agent has made it."],
  [[...POD, "dnsPolicy"], "Cluster DNS needs this network, too."],
  [
    [...AGENT, "env", 1, "value"],
    'HOST:PORT of the API server, if nodes do not reach the Service "kubernetes" before there is a network.',
  ],
  [
    [...AGENT, "readinessProbe"],
    "No liveness probe: the agent waits for the API server and podCIDRs, and ends if it crashes.",
  ],
  [[...AGENT, "securityContext", "capabilities", "add"], "For routes, links and nf_tables of the node."],
  [[...POD, "volumes"], "Other distributions have other directories for cni-bin and cni-conf: see docs/kubernetes.md."],
];

const TAINT: readonly Comment[] = [
  [
    ["rules"],
    "Only if the settings name a startupTaint. RBAC cannot say which part of a Node: this is the right to change labels and taints, too.",
  ],
];

/** Namespace, account and rights, settings, DaemonSet: what there is to apply, by the files of deploy/kustomize/base. */
export function parts(values: Values): ReadonlyMap<string, readonly string[]> {
  return new Map([
    ["namespace.yaml", [yamlOf(namespace(values))]],
    ["account.yaml", [yamlOf(account(values)), yamlOf(role()), yamlOf(binding(values))]],
    ["settings.yaml", [yamlOf(settings(values), SETTINGS)]],
    ["daemonset.yaml", [yamlOf(daemonSet(values), DAEMON_SET)]],
  ]);
}

/** The further rights that a startup taint needs. */
export function taintParts(values: Values): readonly string[] {
  return [yamlOf(taintRole(), TAINT), yamlOf(taintBinding(values))];
}

export function uninstallParts(values: Values): readonly string[] {
  return [
    yamlOf(uninstaller(values), [
      [[...POD, "hostNetwork"], "Nodes lose their network to this: it runs in theirs."],
      [[...POD, "volumes"], "The directories that Podwire was installed with."],
    ]),
  ];
}
