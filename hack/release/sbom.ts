/** The bill of materials of one archive: SPDX 2.3 as JSON (https://spdx.github.io/spdx-spec/v2.3/). */
import { createHash } from "node:crypto";
import { isoDate, sha256 } from "./oci.ts";
import type { Package, Part, Project } from "./parts.ts";

type Json = Record<string, unknown>;

/** An executable of the archive. */
export interface Executable {
  /** What it is called there: one file by these names. */
  readonly names: readonly string[];
  readonly data: Buffer;
}

/**
 * @param archive the archive's file name and content
 * @param executables those in it
 * @param created the date that the document bears, in seconds since 1970
 */
export function sbom(
  project: Project,
  archive: { readonly name: string; readonly data: Buffer },
  executables: readonly Executable[],
  created: number,
): Json {
  const sources = new Map(project.parts.map((part) => [part.from.name, part.from]));
  const root = "SPDXRef-podwire";
  const files = executables.map(({ names, data }) => ({
    id: idOf("executable", names[0] ?? ""),
    names,
    data,
    parts: project.parts.filter(({ only }) => only === "" || names.includes(only)),
  }));
  const relate = (from: string, type: string, to: string): Json => ({
    spdxElementId: from,
    relationshipType: type,
    relatedSpdxElement: to,
  });
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: archive.name,
    documentNamespace: `https://podwire.invalid/spdx/${archive.name}-${sha256(archive.data)}`,
    creationInfo: { created: isoDate(created), creators: [`Tool: ${project.name}-release-${project.version}`] },
    packages: [
      {
        SPDXID: root,
        name: project.name,
        versionInfo: project.version,
        packageFileName: archive.name,
        supplier: "NOASSERTION",
        downloadLocation: "NOASSERTION",
        filesAnalyzed: false,
        licenseConcluded: project.license,
        licenseDeclared: project.license,
        copyrightText: "NOASSERTION",
        primaryPackagePurpose: "APPLICATION",
        checksums: [{ algorithm: "SHA256", checksumValue: sha256(archive.data) }],
      },
      ...project.parts.map(partPackage),
      ...[...sources.values(), ...project.tools].map(npmPackage),
    ],
    files: files.map(({ id, names, data, parts }) => ({
      SPDXID: id,
      fileName: `./${names[0]}`,
      comment: `one file under these names: ${names.join(", ")}`,
      fileTypes: ["BINARY"],
      checksums: [
        { algorithm: "SHA1", checksumValue: createHash("sha1").update(data).digest("hex") },
        { algorithm: "SHA256", checksumValue: sha256(data) },
      ],
      licenseConcluded: [...new Set([project.license, ...parts.map((part) => part.license)])].join(" AND "),
      copyrightText: "NOASSERTION",
    })),
    relationships: [
      relate("SPDXRef-DOCUMENT", "DESCRIBES", root),
      ...files.map(({ id }) => relate(root, "CONTAINS", id)),
      ...files.flatMap(({ id, parts }) => parts.map((part) => relate(id, "STATIC_LINK", idOf("part", part.name)))),
      ...project.parts.map((part) => relate(idOf("part", part.name), "GENERATED_FROM", idOf("npm", part.from.name))),
      ...project.tools.map((tool) => relate(idOf("npm", tool.name), "BUILD_TOOL_OF", root)),
    ],
  };
}

/** SPDX 2.3, section 7.2: letters, numbers, "." and "-". */
function idOf(kind: string, name: string): string {
  return `SPDXRef-${kind}-${name.replaceAll(/[^A-Za-z0-9.-]+/g, "-").replace(/^-/, "")}`;
}

function partPackage(part: Part): Json {
  return {
    SPDXID: idOf("part", part.name),
    name: part.name,
    versionInfo: part.version,
    supplier: `Organization: ${part.supplier}`,
    downloadLocation: "NOASSERTION",
    filesAnalyzed: false,
    licenseConcluded: part.license,
    licenseDeclared: part.license,
    copyrightText: "NOASSERTION",
    primaryPackagePurpose: "LIBRARY",
    comment: part.comment,
  };
}

function npmPackage(entry: Package): Json {
  const url = `pkg:npm/${entry.name.replace("@", "%40")}@${entry.version}`;
  return {
    SPDXID: idOf("npm", entry.name),
    name: entry.name,
    versionInfo: entry.version,
    supplier: "NOASSERTION",
    downloadLocation: "NOASSERTION",
    filesAnalyzed: false,
    licenseConcluded: "NOASSERTION",
    licenseDeclared: entry.license,
    copyrightText: "NOASSERTION",
    checksums: [{ algorithm: "SHA512", checksumValue: entry.sha512 }],
    externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: url }],
  };
}
