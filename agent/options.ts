/** The command line of podwire-agent. Pure. */
import { CniError, INVALID_ENVIRONMENT } from "../lib/errors.ts";
import { textAt } from "../lib/lists.ts";
import { clip } from "../lib/text.ts";

export const USAGE = `podwire-agent keeps a Kubernetes node's network in line with the cluster.

  podwire-agent version  print the versions of Podwire and of mbedTLS
  podwire-agent --help   print this
`;

/** What is to be done. */
export type Command = "help" | "version";

/**
 * Reads the command line.
 * @param list the arguments, without the program's name
 * @throws CniError 4, whose message names the argument
 */
export function readCommand(list: readonly string[]): Command {
  if (list.length > 1) throw invalid(`unexpected argument "${clip(textAt(list, 1))}"`);
  const word = textAt(list, 0);
  if (["version", "--version", "-v"].includes(word)) return "version";
  if (["help", "--help", "-h"].includes(word)) return "help";
  throw invalid(word === "" ? "there is no command" : `unknown argument "${clip(word)}"`);
}

function invalid(problem: string): CniError {
  return new CniError(INVALID_ENVIRONMENT, problem, "podwire-agent --help lists the commands");
}
