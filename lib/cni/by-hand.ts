/** What a plugin does without CNI's environment: for people, timers, and programs that ask for its version. */
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { print, warn } from "../host/io.ts";
import { textAt } from "../lists.ts";
import { clip } from "../text.ts";
import { explain } from "./explain.ts";
import type { Plugin } from "./plugin.ts";

/**
 * Serves a call without CNI_COMMAND.
 * @param plugins all plugins of this executable
 * @param list the arguments
 * @throws CniError 4 for `repair` where there is nothing to repair, and what repairing throws
 */
export function runByHand(plugins: readonly Plugin[], plugin: Plugin, release: string, list: readonly string[]): void {
  const word = textAt(list, 0);
  if (word === "repair") repair(plugin);
  else if (word === "explain") print(`${explain(plugins, plugin, textAt(list, 1)).join("\n")}\n`);
  else if (["help", "--help", "-h"].includes(word)) print(`${aboutText(plugin, release)}\n${usage(plugin)}`);
  else {
    warn(aboutText(plugin, release));
    if (!["", "version", "--version", "-v", "-V"].includes(word)) {
      warn(`${plugin.name}: unknown argument "${clip(word)}" is ignored\n`);
    }
  }
}

/**
 * Programs read this text, in these ways: the first word that is a version (Nomad); the last or the fourth word of the
 * first line, or what stands behind its " v"; the first three numbers with dots anywhere. So the first line is the
 * reference's to the letter, with a version of ours that passes for one of the reference's, and nothing before it.
 */
function aboutText({ name, versions }: Plugin, release: string): string {
  return `CNI ${name} plugin v${release}\nCNI protocol versions supported: ${versions.join(", ")}\nPodwire; "${name} --help" tells more\n`;
}

function usage({ name, repair }: Plugin): string {
  const repairing = repair === null ? "" : `  ${name} repair     put back what others have taken away\n`;
  return `${name} is one of Podwire's CNI plugins. A container runtime starts it, with CNI_COMMAND and other variables in the
environment and a network configuration on standard input. Then it ignores arguments. Otherwise:

  ${name} explain [ADD|DEL|GC] < FILE
                     print what the call would do with the configuration in FILE, as commands; nothing is changed.
                     CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME say for which container; FILE may be a list of plugins
${repairing}  ${name} --version  print the version
  ${name} --help     print this
`;
}

function repair({ name, repair }: Plugin): void {
  if (repair === null) {
    throw new CniError(
      INVALID_ENVIRONMENT,
      `${name} has nothing to repair`,
      `${name} keeps nothing that others could flush; "${name} --help" lists what it can be asked`,
    );
  }
  if (repair()) print(`${name}: something was missing; it was put back\n`);
}
