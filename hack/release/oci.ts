/** Container images as an OCI image layout in a tar archive, written here byte by byte: no engine, and always the same bytes. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { type Member, tar } from "./tar.ts";

export type Architecture = "amd64" | "arm64";

/** An image of one layer for one architecture. */
export interface Image {
  readonly architecture: Architecture;
  /** The layer, as a tar archive. */
  readonly layer: Buffer;
  /** The image's `config`: Entrypoint, Labels and the like. */
  readonly config: Readonly<Record<string, unknown>>;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/**
 * An archive that containerd, podman and docker import: of one architecture, or of several under one name.
 * @param name what the image is called in a runtime, with a tag
 * @param created the date that the image and the archive's members bear, in seconds since 1970
 */
export function imageArchive(name: string, images: readonly Image[], created: number): Buffer {
  const blobs = new Map<string, Buffer>();
  const put = (data: Buffer, mediaType: string): Descriptor => {
    const digest = sha256(data);
    blobs.set(digest, data);
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest: `sha256:${digest}`, size: data.length };
  };
  const manifests = images.map((image) => ({
    ...putImage(image, created, put),
    platform: { architecture: image.architecture, os: "linux" },
  }));
  const [only] = manifests;
  const top = manifests.length === 1 && only !== undefined ? only : put(json({ ...INDEX, manifests }), "index.v1+json");
  const annotations = {
    "io.containerd.image.name": name,
    "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
  };
  const members: Member[] = [
    { name: "oci-layout", mode: 0o644, data: json({ imageLayoutVersion: "1.0.0" }) },
    { name: "index.json", mode: 0o644, data: json({ ...INDEX, manifests: [{ ...top, annotations }] }) },
  ];
  for (const [digest, data] of blobs) members.push({ name: `blobs/sha256/${digest}`, mode: 0o644, data });
  return tar(members, created);
}

const INDEX = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json" };

function putImage(image: Image, created: number, put: (data: Buffer, mediaType: string) => Descriptor): Descriptor {
  const layer = put(gzip(image.layer), "layer.v1.tar+gzip");
  const config = put(
    json({
      created: isoDate(created),
      architecture: image.architecture,
      os: "linux",
      config: image.config,
      rootfs: { type: "layers", diff_ids: [`sha256:${sha256(image.layer)}`] },
    }),
    "config.v1+json",
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: [layer],
  };
  return put(json(manifest), "manifest.v1+json");
}

/** Compresses without a date and without the name of the system that did it. */
export function gzip(data: Buffer): Buffer {
  const compressed = gzipSync(data, { level: 9 });
  /* RFC 1952: MTIME is already 0; OS would tell where the archive was made. */
  compressed[9] = 0xff;
  return compressed;
}

/** A date as SPDX and OCI have it: "2026-01-02T03:04:05Z". */
export function isoDate(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

export function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
