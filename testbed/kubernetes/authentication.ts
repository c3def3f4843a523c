/** Who a request comes from: bearer tokens and client certificates. */
import { type DetailedPeerCertificate, TLSSocket } from "node:tls";
import type { Clock } from "./clock.ts";
import { unauthorized } from "./failure.ts";

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid?: string;
}

const ANONYMOUS: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };

/** A service account, as RBAC names it. */
export function serviceAccount(namespace: string, name: string): User {
  return {
    name: `system:serviceaccount:${namespace}:${name}`,
    groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
  };
}

export const ADMINISTRATOR: User = { name: "admin", groups: ["system:masters", "system:authenticated"] };

export class Authentication {
  /** Whether a request without credentials is somebody (it is, unless a server is told otherwise). */
  anonymous = true;
  readonly #clock: Clock;
  readonly #tokens = new Map<string, { user: User; until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * A token that is good from now on, beside those there are.
   * @param seconds after which it is not any more
   */
  addToken(token: string, user: User, seconds = Number.POSITIVE_INFINITY): void {
    this.#tokens.set(token, { user, until: this.#clock.now() + seconds * 1000 });
  }

  /** A token that is good no more. */
  revokeToken(token: string): void {
    this.#tokens.delete(token);
  }

  /**
   * @param authorization the header, "" for none
   * @throws Failure 401
   */
  userOf(authorization: string, socket: unknown): User {
    const certificate = clientCertificate(socket);
    if (certificate === "bad") throw unauthorized();
    if (certificate !== null) return certificate;
    const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? "";
    if (token !== "") {
      const known = this.#tokens.get(token);
      if (known === undefined || known.until <= this.#clock.now()) throw unauthorized();
      return known.user;
    }
    if (!this.anonymous) throw unauthorized();
    return ANONYMOUS;
  }
}

/** The common name is the user, the organizations are the groups. */
function clientCertificate(socket: unknown): User | "bad" | null {
  if (!(socket instanceof TLSSocket)) return null;
  const certificate: Partial<DetailedPeerCertificate> = socket.getPeerCertificate(true);
  if (certificate.subject === undefined) return null;
  if (!socket.authorized) return "bad";
  const { CN: name, O: organization } = certificate.subject;
  const groups = [organization ?? []].flat();
  return { name: [name].flat()[0] ?? "", groups: [...groups, "system:authenticated"] };
}
