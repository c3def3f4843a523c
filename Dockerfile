# Podwire's plugins and what installs them on a node, a static executable under several names, and the agent; nothing else.
# Build with any engine, for one or more architectures, after `make image` has made the file systems:
#   docker buildx build --platform linux/amd64,linux/arm64 -f Dockerfile build/release
#   buildah build --platform linux/arm64 -f Dockerfile build/release
# `make image` itself writes the same image as an archive to import, always the same bytes, without an engine.
FROM scratch
ARG TARGETARCH
# Unpacked by the builder, which keeps the hard links: COPY would make a copy for each name.
ADD rootfs-${TARGETARCH}.tar /
ENTRYPOINT ["/podwire-install"]
