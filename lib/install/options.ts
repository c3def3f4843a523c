/** The options of `podwire-install`: an argument takes precedence over an environment variable. Pure. */
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { textAt } from "../lists.ts";
import { clip } from "../text.ts";

export interface Options {
  /** The node's directory of plugins, as it is mounted here. */
  readonly binDir: string;
  /** The node's directory of network configurations; "" for none: then no list is written or removed. */
  readonly confDir: string;
  /** The name of the list in it. */
  readonly confName: string;
  /** The path of a network configuration list with placeholders; "" for none. */
  readonly template: string;
  /** The node's subnets, separated by commas; "" if they are in `nodes`. */
  readonly ranges: string;
  /** The path of a table of all nodes' subnets, and the node's name in it. */
  readonly nodes: string;
  readonly node: string;
  readonly uninstall: boolean;
  /** Wait for a signal before the end. */
  readonly wait: boolean;
  readonly help: boolean;
}

export const USAGE = `podwire-install installs Podwire's CNI plugins in a node's directory.

  --bin-dir DIR     the plugin directory (PODWIRE_BIN_DIR; /host/opt/cni/bin)
  --conf-dir DIR    where to write a network configuration list (PODWIRE_CONF_DIR)
  --conf-name NAME  its file name (PODWIRE_CONF_NAME; 10-podwire.conflist)
  --template FILE   the list, with "$RANGES" and "$SUBNETS" for the node's subnets (PODWIRE_TEMPLATE)
  --ranges LIST     the node's subnets, separated by commas (PODWIRE_RANGES)
  --nodes FILE      or a table of all nodes' subnets: lines NODE LIST (PODWIRE_NODES)
  --node NAME       the node's name in the table (PODWIRE_NODE)
  --uninstall       remove Podwire's plugins, and the list if podwire-install wrote it
  --wait            then wait for SIGTERM, as the container of a DaemonSet must
`;

const VALUES = ["bin-dir", "conf-dir", "conf-name", "template", "ranges", "nodes", "node"];
const VARIABLES = [
  "PODWIRE_BIN_DIR",
  "PODWIRE_CONF_DIR",
  "PODWIRE_CONF_NAME",
  "PODWIRE_TEMPLATE",
  "PODWIRE_RANGES",
  "PODWIRE_NODES",
  "PODWIRE_NODE",
];
const FLAGS = ["uninstall", "wait", "help"];

/**
 * Reads and checks the options.
 * @param list the arguments, without the program's name
 * @param read returns an environment variable's value, "" if it is not set
 * @throws CniError 4, whose message names the option
 */
export function readOptions(list: readonly string[], read: (name: string) => string): Options {
  const values: string[] = VARIABLES.map((name) => read(name));
  const flags: string[] = [];
  for (let at = 0; at < list.length; at += 1) {
    const word = textAt(list, at);
    const equals = word.indexOf("=");
    const name = word.startsWith("--") ? word.slice(2, equals < 0 ? word.length : equals) : "";
    const index = VALUES.indexOf(name);
    if (index >= 0) {
      if (equals < 0) at += 1;
      if (at >= list.length) throw invalid(`--${name} needs a value`);
      values[index] = equals < 0 ? textAt(list, at) : word.slice(equals + 1);
    } else if (FLAGS.includes(name) && equals < 0) {
      flags.push(name);
    } else {
      throw invalid(`unknown argument "${clip(word)}"`);
    }
  }
  const options = {
    binDir: textAt(values, 0) === "" ? "/host/opt/cni/bin" : textAt(values, 0),
    confDir: textAt(values, 1),
    confName: textAt(values, 2) === "" ? "10-podwire.conflist" : textAt(values, 2),
    template: textAt(values, 3),
    ranges: textAt(values, 4),
    nodes: textAt(values, 5),
    node: textAt(values, 6),
    uninstall: flags.includes("uninstall"),
    wait: flags.includes("wait"),
    help: flags.includes("help"),
  };
  check(options);
  return options;
}

function check(options: Options): void {
  const { binDir, confDir, confName, template, ranges, nodes, node } = options;
  if (!isPlainPath(binDir)) throw invalid(`--bin-dir: ${aboutPath(binDir)}`);
  if (confDir !== "" && !isPlainPath(confDir)) throw invalid(`--conf-dir: ${aboutPath(confDir)}`);
  if (!isFileName(confName) || !confName.endsWith(".conflist")) {
    throw invalid(`--conf-name: expected a file name that ends in .conflist, found "${clip(confName)}"`);
  }
  if (options.uninstall) return;
  if (template !== "" && confDir === "") throw invalid("--template needs --conf-dir");
  if (template === "" && confDir !== "") throw invalid("--conf-dir needs --template");
  if (ranges !== "" && nodes !== "") throw invalid("--ranges and --nodes are alternatives");
  if ((nodes === "") !== (node === "")) throw invalid("--nodes and --node need each other");
}

/** Whether a path is absolute and has no empty, "." or ".." part. */
export function isPlainPath(path: string): boolean {
  if (!path.startsWith("/") || path.length > 1024) return false;
  for (const part of path.slice(1).split("/")) {
    if (part === "" || part === "." || part === ".." || part.includes("\0")) return false;
  }
  return true;
}

function isFileName(name: string): boolean {
  return name.length <= 200 && !name.startsWith(".") && !name.includes("/") && isPlainPath(`/${name}`);
}

function aboutPath(path: string): string {
  return `expected an absolute path without empty, "." or ".." parts, found "${clip(path)}"`;
}

function invalid(problem: string): CniError {
  return new CniError(INVALID_ENVIRONMENT, problem, "podwire-install --help lists the arguments");
}
