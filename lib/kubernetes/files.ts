/** The small files that say where the API server is and as whom it is asked. */
import { ServerError } from "./server.ts";

/** A kubeconfig, a token, a certificate, a key. */
export const MAX_FILE = 1024 * 1024;

/** Reads files. Apart from the calls, so that what uses it is tested without them. */
export abstract class Files {
  /** The text of a file; null if there is none. @throws ServerError if it cannot be read or is larger than MAX_FILE */
  abstract read(path: string): string | null;
  /** Whether others than its owner and group may read a file. */
  abstract isPublic(path: string): boolean;
}

/** The text of a file that must be there. @param what names it in errors: "the token" @throws ServerError */
export function readFile(files: Files, path: string, what: string): string {
  const text = files.read(path);
  if (text === null) throw new ServerError(`${what} ${path} is missing or may not be read`);
  return text;
}

/** A file of PEM texts. @throws ServerError if it has none */
export function readPem(files: Files, path: string, what: string): string {
  return requirePem(readFile(files, path, what), `${what} ${path}`);
}

/** @throws ServerError if a text is no PEM */
export function requirePem(text: string, what: string): string {
  if (text.includes("\u0000") || !text.includes("-----BEGIN ") || !text.includes("-----END ")) {
    throw new ServerError(`${what} is not in PEM form: no -----BEGIN and -----END in it`);
  }
  return text;
}
