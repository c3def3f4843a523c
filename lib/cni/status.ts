/**
 * STATUS fails only where ADD would fail for every pod for a reason of this node: a runtime makes the node not ready of it,
 * and Kubernetes then evicts pods that are well. What only some pods need is told on standard error.
 */
import { CniError, INTERNAL, NOT_AVAILABLE } from "../errors.ts";
import { warn } from "../host/io.ts";
import { asCniError } from "./run.ts";

/**
 * Reports what a plugin has found to be missing.
 * @param everybody whether each pod of the network needs it
 * @param consequence for whom ADD fails otherwise: "pods with ports"
 * @throws CniError 50 if everybody does
 */
export function reportLack(plugin: string, error: Error, everybody: boolean, consequence: string): void {
  const { code, message, details } = asCniError(error);
  if (code === INTERNAL) throw error;
  if (everybody) throw new CniError(NOT_AVAILABLE, message, details);
  warn(`${plugin}: ${message}: ADD fails for ${consequence}${details === "" ? "" : `; ${details}`}\n`);
}
