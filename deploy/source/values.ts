/** What differs between clusters, and what it is in most of them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Values {
  readonly namespace: string;
  readonly image: string;
  readonly pullPolicy: "Always" | "IfNotPresent" | "Never";
  /** The text of network.json: agent/settings.ts reads it. */
  readonly settings: string;
  /** "HOST:PORT" of the API server; "" for the Service `kubernetes`. */
  readonly server: string;
  /** The container runtime's directory of plugins, on the node. */
  readonly binDir: string;
  /** The container runtime's directory of network configurations, on the node. */
  readonly confDir: string;
  /** "text" or "json". */
  readonly log: string;
}

export const NAMESPACE = "podwire";
/** What kubeadm's documentation and kind have as the networks of all pods. */
export const CLUSTER_CIDRS: readonly string[] = ["10.244.0.0/16"];

/** The version of Podwire, package.json's. */
export const VERSION: string = (
  JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as { version: string }
).version;

/** The settings as a person writes them: a member a line. */
export function settingsText(settings: Readonly<Record<string, unknown>>): string {
  const lines: string[] = [];
  for (const [key, value] of Object.entries(settings)) {
    const text = Array.isArray(value)
      ? `[${value.map((one) => JSON.stringify(one)).join(", ")}]`
      : JSON.stringify(value);
    lines.push(`  ${JSON.stringify(key)}: ${text}`);
  }
  return `{\n${lines.join(",\n")}\n}\n`;
}

/** kubeadm, kind, Talos and k0s: the directories that CNI's own documents name. */
export const USUAL: Values = {
  namespace: NAMESPACE,
  image: `localhost/podwire:v${VERSION}`,
  pullPolicy: "IfNotPresent",
  settings: settingsText({ clusterCIDRs: CLUSTER_CIDRS }),
  server: "",
  binDir: "/opt/cni/bin",
  confDir: "/etc/cni/net.d",
  log: "text",
};
