/** Where the API server is, and as whom it is asked. */
import { parseAddress } from "../ip/address.ts";
import { clip, isDigits } from "../text.ts";

/** What a connection shows and asks for, as PEM texts; "" for none. */
export interface Credentials {
  /** The certificates that the server's may be signed by. */
  readonly ca: string;
  /** A bearer token. */
  readonly token: string;
  readonly certificate: string;
  readonly key: string;
}

/** An API server. */
export abstract class ApiServer {
  /** A name or an address, without brackets. */
  host = "";
  port = 443;
  /** What stands before all paths; "" or "/k8s/clusters/c-1" */
  basePath = "";
  /** The name or address that the server's certificate must have. */
  name = "";
  /** What is wrong with the files, but not so that they cannot be used, for the log: "" or sentences. Set by `credentials`. */
  warning = "";
  /** Reads the files again, for each connection: tokens are replaced about once an hour. @throws ServerError */
  abstract credentials(): Credentials;
}

/** It is not known where the API server is or as whom to ask it; `message` says what to do. */
export class ServerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ServerError";
  }
}

/** Where a server is. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly basePath: string;
}

/**
 * Reads a URL such as "https://[2001:db8::1]:6443".
 * @param what names the URL in errors
 * @throws ServerError
 */
export function parseServerUrl(url: string, what: string): Place {
  if (!url.startsWith("https://")) throw new ServerError(`${what}: "${clip(url)}" does not begin with https://`);
  const rest = url.slice("https://".length);
  const slash = rest.indexOf("/");
  const authority = slash < 0 ? rest : rest.slice(0, slash);
  const path = slash < 0 ? "" : rest.slice(slash);
  const basePath = path.endsWith("/") ? path.slice(0, -1) : path;
  const bracket = authority.startsWith("[") ? authority.indexOf("]") : -1;
  const colon = authority.indexOf(":", Math.max(bracket, 0));
  const written = colon < 0 ? authority : authority.slice(0, colon);
  const host = bracket < 0 ? written : written.slice(1, bracket);
  const port = colon < 0 ? "443" : authority.slice(colon + 1);
  if (!isHost(host, bracket >= 0) || (bracket >= 0 && written.length !== bracket + 1)) {
    throw new ServerError(`${what}: "${clip(url)}" names no host`);
  }
  if (!isVisible(basePath) || basePath.includes("?") || basePath.includes("#")) {
    throw new ServerError(`${what}: the path of "${clip(url)}" cannot be used`);
  }
  return { host, port: parsePort(port, what), basePath };
}

/** @throws ServerError */
export function parsePort(text: string, what: string): number {
  const port = isDigits(text) && text.length <= 5 ? parseInt(text, 10) : 0;
  if (port < 1 || port > 65_535) throw new ServerError(`${what}: "${clip(text)}" is no port`);
  return port;
}

/** Whether a text is an address or can be a name in DNS. @param isIpv6 whether it must be an IPv6 address */
export function isHost(text: string, isIpv6: boolean): boolean {
  const address = parseAddress(text);
  if (isIpv6 || text.includes(":")) return isIpv6 && address !== null && address.family === 6;
  if (text === "" || text.length > 253 || text.startsWith(".") || text.startsWith("-")) return false;
  for (let at = 0; at < text.length; at += 1) if (!NAME.includes(text.charAt(at))) return false;
  return true;
}

const NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

/** Whether a text has only visible ASCII characters. */
function isVisible(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit <= 0x20 || unit >= 0x7f) return false;
  }
  return true;
}
