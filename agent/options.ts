/** The command line of podwire-agent: an argument takes precedence over an environment variable. Pure. */
import { CniError, INVALID_ENVIRONMENT } from "../lib/errors.ts";
import { isPlainPath } from "../lib/install/options.ts";
import { textAt } from "../lib/lists.ts";
import { clip } from "../lib/text.ts";
import { isNodeName } from "./node.ts";

export interface Options {
  /** "run", "check", "status", "uninstall", "version" or "help". */
  readonly command: string;
  /** This node's name in the API. */
  readonly node: string;
  /** The path of the network's settings. */
  readonly settings: string;
  /** The path of ip-masq-agent's configuration; "" for none. */
  readonly ipMasq: string;
  /** The runtime's directory of network configurations, as it is mounted here, and the file in it. */
  readonly confDir: string;
  readonly confName: string;
  /** The agent's own directory, on tmpfs, where the plugins see it, too. */
  readonly runDir: string;
  /** A kubeconfig and its context; "" for the service account of the pod. */
  readonly kubeconfig: string;
  readonly context: string;
  /** "HOST:PORT" of the API server; "" for the one that the environment or the kubeconfig names. */
  readonly server: string;
  readonly serviceAccount: string;
  /** Where the node's /proc/sys is mounted: a container's own is read-only. */
  readonly procSys: string;
  /** "text" or "json". */
  readonly log: string;
  /** A file of numbers for Prometheus; "" for none. */
  readonly metrics: string;
}

export const USAGE = `podwire-agent keeps the network of a Kubernetes node: it watches the cluster's nodes and brings this one to what they say.

  podwire-agent [run]     run until SIGTERM, which leaves the network as it is
  podwire-agent check     exit with 0 if the agent runs and the network is as it should be; else say why not
  podwire-agent status    print what the agent knows
  podwire-agent uninstall take the network away from this node, and say what stays
  podwire-agent version   print the version of Podwire and of its TLS library

  --node NAME             this node's name in the API (NODE_NAME)
  --settings FILE         the network's settings (PODWIRE_SETTINGS; /etc/podwire/network.json)
  --ip-masq-agent FILE    ip-masq-agent's configuration, whose nonMasqueradeCIDRs count, too (PODWIRE_IP_MASQ_AGENT)
  --conf-dir DIR          where the container runtime looks for networks (PODWIRE_CONF_DIR; /etc/cni/net.d)
  --conf-name NAME        the file there (PODWIRE_CONF_NAME; 10-podwire.conflist)
  --run-dir DIR           the agent's own directory, seen by the plugins, too (PODWIRE_RUN_DIR; /run/podwire/agent)
  --kubeconfig FILE       how to reach the API server (KUBECONFIG); default: the pod's service account
  --context NAME          the context in it (PODWIRE_CONTEXT); default: its current one
  --server HOST:PORT      where the API server is, before Services work (PODWIRE_SERVER)
  --service-account DIR   the files of the service account (PODWIRE_SERVICE_ACCOUNT)
  --proc-sys DIR          where the node's /proc/sys is mounted, writable (PODWIRE_PROC_SYS; /proc/sys)
  --log text|json         the form of the log (PODWIRE_LOG)
  --metrics FILE          numbers for node_exporter's textfile collector, a path that ends in .prom (PODWIRE_METRICS)
`;

const COMMANDS = ["run", "check", "status", "uninstall", "version", "help"];
const VALUES = [
  "node",
  "settings",
  "ip-masq-agent",
  "conf-dir",
  "conf-name",
  "run-dir",
  "kubeconfig",
  "context",
  "server",
  "service-account",
  "proc-sys",
  "log",
  "metrics",
];
const VARIABLES = [
  "NODE_NAME",
  "PODWIRE_SETTINGS",
  "PODWIRE_IP_MASQ_AGENT",
  "PODWIRE_CONF_DIR",
  "PODWIRE_CONF_NAME",
  "PODWIRE_RUN_DIR",
  "KUBECONFIG",
  "PODWIRE_CONTEXT",
  "PODWIRE_SERVER",
  "PODWIRE_SERVICE_ACCOUNT",
  "PODWIRE_PROC_SYS",
  "PODWIRE_LOG",
  "PODWIRE_METRICS",
];
const DEFAULTS = [
  "",
  "/etc/podwire/network.json",
  "",
  "/etc/cni/net.d",
  "10-podwire.conflist",
  "/run/podwire/agent",
  "",
  "",
  "",
  "/var/run/secrets/kubernetes.io/serviceaccount",
  "/proc/sys",
  "text",
  "",
];

/**
 * @param list the arguments, without the program's name
 * @param read returns an environment variable's value, "" if it is not set
 * @throws CniError 4, whose message names the option
 */
export function readOptions(list: readonly string[], read: (name: string) => string): Options {
  const values: string[] = [];
  for (let at = 0; at < VARIABLES.length; at += 1) {
    const given = read(textAt(VARIABLES, at));
    values.push(given === "" ? textAt(DEFAULTS, at) : given);
  }
  let command = "";
  for (let at = 0; at < list.length; at += 1) {
    const word = textAt(list, at);
    const name = word.startsWith("--") ? word.slice(2) : "";
    const equals = name.indexOf("=");
    const index = VALUES.indexOf(equals < 0 ? name : name.slice(0, equals));
    if (index >= 0) {
      if (equals < 0) at += 1;
      if (at >= list.length) throw invalid(`${word} needs a value`);
      values[index] = equals < 0 ? textAt(list, at) : name.slice(equals + 1);
    } else if (name === "help" || name === "version") {
      command = name;
    } else if (command === "" && COMMANDS.includes(word)) {
      command = word;
    } else {
      throw invalid(`unknown argument "${clip(word)}"`);
    }
  }
  const options = {
    command: command === "" ? "run" : command,
    node: textAt(values, 0),
    settings: textAt(values, 1),
    ipMasq: textAt(values, 2),
    confDir: textAt(values, 3),
    confName: textAt(values, 4),
    runDir: textAt(values, 5),
    kubeconfig: textAt(values, 6),
    context: textAt(values, 7),
    server: textAt(values, 8),
    serviceAccount: textAt(values, 9),
    procSys: textAt(values, 10),
    log: textAt(values, 11),
    metrics: textAt(values, 12),
  };
  requirePath("run-dir", options.runDir);
  requirePath("conf-dir", options.confDir);
  requireFileName(options.confName);
  if (options.command === "run") check(options);
  return options;
}

function check(options: Options): void {
  if (!isNodeName(options.node)) {
    throw invalid(`--node: expected this node's name in the API, found "${clip(options.node)}"`);
  }
  requirePath("proc-sys", options.procSys);
  const { log, metrics, server, kubeconfig } = options;
  if (metrics !== "" && (!isPlainPath(metrics) || !metrics.endsWith(".prom"))) {
    throw invalid(`--metrics: expected the absolute path of a file that ends in .prom, found "${clip(metrics)}"`);
  }
  if (log !== "text" && log !== "json") throw invalid(`--log: expected text or json, found "${clip(log)}"`);
  if (server !== "" && kubeconfig !== "")
    throw invalid("--server and --kubeconfig are alternatives: the kubeconfig names a server");
}

function requireFileName(name: string): void {
  if (!name.includes("/") && !name.startsWith(".") && name.endsWith(".conflist")) return;
  throw invalid(`--conf-name: expected a file name that ends in .conflist, found "${clip(name)}"`);
}

function requirePath(name: string, path: string): void {
  if (isPlainPath(path)) return;
  throw invalid(`--${name}: expected an absolute path without empty, "." or ".." parts, found "${clip(path)}"`);
}

function invalid(problem: string): CniError {
  return new CniError(INVALID_ENVIRONMENT, problem, "podwire-agent --help lists the arguments");
}
