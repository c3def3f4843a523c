/** The objects that install Podwire on a cluster. */
import type { IDaemonSet } from "kubernetes-models/apps/v1";
import type { IClusterRole, IClusterRoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1";
import type { IConfigMap, IContainer, INamespace, IServiceAccount, IVolume } from "kubernetes-models/v1";
import type { Values } from "./values.ts";

const NAME = "podwire";
/** The service account, and the role that it has. */
export const ACCOUNT = "podwire-agent";
const TAINT_ROLE = `${ACCOUNT}-startup-taint`;
const LABELS = { "app.kubernetes.io/name": NAME };
/** In the container as on the node: the plugins find the list of peers by the path that the agent knows. */
const RUN_DIRECTORY = "/run/podwire";

/** Pods of this namespace may use the node's network and directories. */
export function namespace({ namespace: name }: Values): INamespace {
  const labels = { ...LABELS, "pod-security.kubernetes.io/enforce": "privileged" };
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function account(values: Values): IServiceAccount {
  return { apiVersion: "v1", kind: "ServiceAccount", metadata: metadataOf(ACCOUNT, values) };
}

/** What the agent always needs: it follows all nodes, writes conditions and annotations of its own one, and events. */
export function role(): IClusterRole {
  return roleOf(ACCOUNT, [
    { apiGroups: [""], resources: ["nodes"], verbs: ["list", "watch"] },
    { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
    { apiGroups: [""], resources: ["events"], verbs: ["create"] },
  ]);
}

/** What it needs besides to take the startup taint from its node: taints are in `spec`, which nodes/status does not reach. */
export function taintRole(): IClusterRole {
  return roleOf(TAINT_ROLE, [{ apiGroups: [""], resources: ["nodes"], verbs: ["patch"] }]);
}

export function binding(values: Values): IClusterRoleBinding {
  return bindingOf(ACCOUNT, values);
}

export function taintBinding(values: Values): IClusterRoleBinding {
  return bindingOf(TAINT_ROLE, values);
}

function roleOf(name: string, rules: IClusterRole["rules"]): IClusterRole {
  const head = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole" } as const;
  return { ...head, metadata: { name, labels: LABELS }, ...(rules === undefined ? {} : { rules }) };
}

function bindingOf(name: string, values: Values): IClusterRoleBinding {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name, labels: LABELS },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
    subjects: [{ kind: "ServiceAccount", name: ACCOUNT, namespace: values.namespace }],
  };
}

export function settings(values: Values): IConfigMap {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: metadataOf(NAME, values),
    data: { "network.json": values.settings },
  };
}

/** The plugins, and the agent that keeps the node's network. */
export function daemonSet(values: Values): IDaemonSet {
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: metadataOf(NAME, values),
    spec: {
      selector: { matchLabels: LABELS },
      updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "10%" } },
      template: {
        metadata: { labels: LABELS },
        spec: {
          hostNetwork: true,
          dnsPolicy: "Default",
          enableServiceLinks: false,
          priorityClassName: "system-node-critical",
          nodeSelector: { "kubernetes.io/os": "linux" },
          tolerations: [
            { operator: "Exists", effect: "NoSchedule" },
            { operator: "Exists", effect: "NoExecute" },
          ],
          serviceAccountName: ACCOUNT,
          automountServiceAccountToken: true,
          terminationGracePeriodSeconds: 5,
          securityContext: { runAsUser: 0, seccompProfile: { type: "RuntimeDefault" } },
          initContainers: [installer(values)],
          containers: [agent(values)],
          volumes: volumes(values),
        },
      },
    },
  };
}

function installer({ image, pullPolicy }: Values): IContainer {
  return {
    name: "install",
    image,
    imagePullPolicy: pullPolicy,
    command: ["/podwire-install"],
    args: ["--bin-dir=/host/opt/cni/bin"],
    resources: { requests: { cpu: "10m", memory: "20Mi" }, limits: { memory: "64Mi" } },
    securityContext: confined([]),
    volumeMounts: [{ name: "cni-bin", mountPath: "/host/opt/cni/bin" }],
  };
}

function agent({ image, pullPolicy, server, log }: Values): IContainer {
  return {
    name: "agent",
    image,
    imagePullPolicy: pullPolicy,
    command: ["/podwire-agent"],
    args: ["run", "--proc-sys=/host/proc/sys"],
    env: [
      { name: "NODE_NAME", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
      { name: "PODWIRE_SERVER", value: server },
      { name: "PODWIRE_LOG", value: log },
    ],
    readinessProbe: {
      exec: { command: ["/podwire-agent", "check"] },
      periodSeconds: 20,
      timeoutSeconds: 5,
    },
    resources: { requests: { cpu: "10m", memory: "20Mi" }, limits: { memory: "64Mi" } },
    securityContext: confined(["NET_ADMIN"]),
    volumeMounts: [
      { name: "cni-conf", mountPath: "/etc/cni/net.d" },
      { name: "run", mountPath: RUN_DIRECTORY },
      { name: "netns", mountPath: "/var/run/netns", readOnly: true, mountPropagation: "HostToContainer" },
      { name: "proc-sys-net", mountPath: "/host/proc/sys/net" },
      { name: "settings", mountPath: "/etc/podwire", readOnly: true },
    ],
  };
}

function volumes({ binDir, confDir }: Values): IVolume[] {
  return [
    { name: "cni-bin", hostPath: { path: binDir, type: "DirectoryOrCreate" } },
    { name: "cni-conf", hostPath: { path: confDir, type: "DirectoryOrCreate" } },
    { name: "run", hostPath: { path: RUN_DIRECTORY, type: "DirectoryOrCreate" } },
    { name: "netns", hostPath: { path: "/run/netns", type: "DirectoryOrCreate" } },
    { name: "proc-sys-net", hostPath: { path: "/proc/sys/net", type: "Directory" } },
    { name: "settings", configMap: { name: NAME } },
  ];
}

function confined(capabilities: string[]): NonNullable<IContainer["securityContext"]> {
  return {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"], ...(capabilities.length === 0 ? {} : { add: capabilities }) },
  };
}

/** Takes the network, the plugins and the list of them away again. It is in kube-system: it must outlive Podwire's own namespace. */
export function uninstaller({ image, pullPolicy, binDir, confDir }: Values): IDaemonSet {
  const labels = { "app.kubernetes.io/name": "podwire-uninstall" };
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: "podwire-uninstall", namespace: "kube-system", labels },
    spec: {
      selector: { matchLabels: labels },
      updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "100%" } },
      template: {
        metadata: { labels },
        spec: {
          hostNetwork: true,
          priorityClassName: "system-node-critical",
          nodeSelector: { "kubernetes.io/os": "linux" },
          tolerations: [{ operator: "Exists" }],
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 5,
          securityContext: { runAsUser: 0, seccompProfile: { type: "RuntimeDefault" } },
          initContainers: [
            {
              name: "network",
              image,
              imagePullPolicy: pullPolicy,
              command: ["/podwire-agent"],
              args: ["uninstall"],
              resources: { requests: { cpu: "1m", memory: "4Mi" }, limits: { memory: "32Mi" } },
              securityContext: confined(["NET_ADMIN"]),
              volumeMounts: [
                { name: "cni-conf", mountPath: "/etc/cni/net.d" },
                { name: "run", mountPath: RUN_DIRECTORY },
              ],
            },
          ],
          containers: [
            {
              name: "uninstall",
              image,
              imagePullPolicy: pullPolicy,
              command: ["/podwire-install"],
              args: ["--bin-dir=/host/opt/cni/bin", "--conf-dir=/host/etc/cni/net.d", "--uninstall", "--wait"],
              resources: { requests: { cpu: "1m", memory: "4Mi" }, limits: { memory: "32Mi" } },
              securityContext: confined([]),
              volumeMounts: [
                { name: "cni-bin", mountPath: "/host/opt/cni/bin" },
                { name: "cni-conf", mountPath: "/host/etc/cni/net.d" },
              ],
            },
          ],
          volumes: [
            { name: "cni-bin", hostPath: { path: binDir, type: "DirectoryOrCreate" } },
            { name: "cni-conf", hostPath: { path: confDir, type: "DirectoryOrCreate" } },
            { name: "run", hostPath: { path: RUN_DIRECTORY, type: "DirectoryOrCreate" } },
          ],
        },
      },
    },
  };
}

function metadataOf(name: string, values: Values): { name: string; namespace: string; labels: typeof LABELS } {
  return { name, namespace: values.namespace, labels: LABELS };
}
