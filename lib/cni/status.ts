/**
 * STATUS fails only if ADD would fail for every pod, for a reason on this node: a failure makes the node not ready, and
 * Kubernetes then evicts pods whose network works. If only some pods are affected STATUS warns on standard error.
 */
import { CniError, INTERNAL, NOT_AVAILABLE } from "../errors.ts";
import { warn } from "../host/io.ts";
import { asCniError } from "./run.ts";

/**
 * Reports that something is missing on the node.
 * @param everybody whether each pod of the network needs it
 * @param consequence which pods need it otherwise: "pods with ports"
 * @throws CniError 50 if each pod needs it; the error itself if it is a defect of Podwire
 */
export function reportLack(plugin: string, error: Error, everybody: boolean, consequence: string): void {
  const { code, message, details } = asCniError(error);
  if (code === INTERNAL) throw error;
  if (everybody) throw new CniError(NOT_AVAILABLE, message, details);
  warn(`${plugin}: ${message}: ADD fails for ${consequence}${details === "" ? "" : `; ${details}`}\n`);
}
