/** The Helm chart: the same objects, with references to the chart's values in their place. */

import { SELINUX_TYPE } from "./distributions.ts";
import { parts, taintParts } from "./manifests.ts";
import { CLUSTER_CIDRS, USUAL, type Values, VERSION } from "./values.ts";
import { yamlOf } from "./yaml.ts";

/** References that templates know; templates have nothing else that is not YAML but `if` and `end`. */
const REFERENCES: Values = {
  namespace: "{{ .Release.Namespace }}",
  image: "{{ .Values.image }}",
  pullPolicy: "{{ .Values.imagePullPolicy }}" as Values["pullPolicy"],
  settings: "{{ toJson .Values.settings }}\n",
  server: "{{ .Values.server }}",
  binDir: "{{ .Values.binDir }}",
  confDir: "{{ .Values.confDir }}",
  log: "{{ .Values.log }}",
};

/** The chart's values: at most ten. */
export const CHART_VALUES = {
  image: USUAL.image,
  imagePullPolicy: USUAL.pullPolicy,
  settings: { clusterCIDRs: CLUSTER_CIDRS },
  server: USUAL.server,
  binDir: USUAL.binDir,
  confDir: USUAL.confDir,
  log: USUAL.log,
  nodeSelector: { "kubernetes.io/os": "linux" },
  seLinuxType: "",
};

const FILES: ReadonlyMap<string, string> = new Map([
  ["account.yaml", "account.yaml"],
  ["settings.yaml", "settings.yaml"],
  ["daemonset.yaml", "daemonset.yaml"],
]);

/** The chart's files by their paths in it. Helm makes the namespace: it has no label there, docs/kubernetes.md says which. */
export function chart(): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  files.set(
    "Chart.yaml",
    yamlOf({
      apiVersion: "v2",
      name: "podwire",
      description: "A network for pods: VXLAN between nodes, a bridge on each, an agent that follows the cluster",
      type: "application",
      version: VERSION,
      appVersion: VERSION,
    }),
  );
  files.set("values.yaml", valuesFile());
  const made = parts(REFERENCES);
  for (const [from, to] of FILES) files.set(`templates/${to}`, (made.get(from) ?? []).map(template).join("---\n"));
  const taint = taintParts(REFERENCES).map(template).join("---\n");
  files.set("templates/startup-taint.yaml", `{{- if .Values.settings.startupTaint }}\n${taint}{{- end }}\n`);
  return files;
}

/** What the YAML of the objects does not have. */
function template(text: string): string {
  return text
    .replace(/^( *)nodeSelector:\n\1 {2}\S+: linux$/m, "$1nodeSelector: {{ toJson .Values.nodeSelector }}")
    .replace(
      /^( *)seccompProfile:\n\1 {2}type: RuntimeDefault\n(?=\1\S|(?!\1))/m,
      (found, indent: string) =>
        `${found}{{- if .Values.seLinuxType }}\n${indent}seLinuxOptions:\n${indent}  type: "{{ .Values.seLinuxType }}"\n{{- end }}\n`,
    )
    .replace(
      /^( *)template:\n\1 {2}metadata:\n/m,
      '$&$1    annotations:\n$1      podwire.dev/settings: "{{ toJson .Values.settings | sha256sum }}"\n',
    );
}

function valuesFile(): string {
  const comments: [keyof typeof CHART_VALUES, string][] = [
    [
      "settings",
      "The network's settings: docs/kubernetes.md lists all of them. clusterCIDRs are the networks of all pods.",
    ],
    [
      "server",
      'HOST:PORT of the API server, if nodes do not reach the Service "kubernetes" before there is a network.',
    ],
    ["binDir", "The container runtime's directories on the nodes."],
    ["log", "text or json"],
    ["nodeSelector", "The nodes that get Podwire."],
    ["seLinuxType", `${SELINUX_TYPE} where SELinux is enforcing.`],
  ];
  return yamlOf(
    CHART_VALUES,
    comments.map(([key, text]) => [[key], text]),
  );
}
