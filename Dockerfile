# Images of the processes: docker build --target api | --target process-agent .

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json tsconfig.base.json .npmrc ./
COPY packages packages
COPY apps/api apps/api
COPY apps/process-agent apps/process-agent
# No install scripts: what they do (a test runner's binaries, a PostgreSQL for development) is not needed here.
RUN npm ci --ignore-scripts --no-audit --no-fund \
      --workspace @streamspace/api --workspace @streamspace/process-agent --include-workspace-root
RUN npx tsc -b apps/api apps/process-agent \
 && find packages apps \( -name src -o -name test -o -name 'tsconfig*.json' -o -name '*.tsbuildinfo' -o -name '*.d.ts*' \) \
      -not -path '*/node_modules/*' -prune -exec rm -rf {} +

FROM build AS api-files
RUN npm ci --ignore-scripts --no-audit --no-fund --omit=dev --workspace @streamspace/api \
 && rm -rf apps/process-agent packages/agent packages/local-stack packages/testkit packages/client

FROM build AS process-agent-files
RUN npm ci --ignore-scripts --no-audit --no-fund --omit=dev --workspace @streamspace/process-agent \
 && rm -rf apps/api packages/agent-hub packages/commands packages/database packages/sessions \
      packages/local-stack packages/testkit packages/client

FROM node:24-bookworm-slim AS api
ENV NODE_ENV=production PORT=8080
WORKDIR /app
COPY --from=api-files /build/package.json ./
COPY --from=api-files /build/node_modules node_modules
COPY --from=api-files /build/packages packages
COPY --from=api-files /build/apps apps
USER node
EXPOSE 8080
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.INTERNAL_PORT || process.env.PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--enable-source-maps", "apps/api/dist/main.js"]

FROM node:24-bookworm-slim AS process-agent
ENV NODE_ENV=production AGENT_DATA_DIR=/var/lib/streamspace
WORKDIR /app
COPY --from=process-agent-files /build/package.json ./
COPY --from=process-agent-files /build/node_modules node_modules
COPY --from=process-agent-files /build/packages packages
COPY --from=process-agent-files /build/apps apps
RUN mkdir -p /var/lib/streamspace && chown node:node /var/lib/streamspace
VOLUME /var/lib/streamspace
USER node
CMD ["node", "--enable-source-maps", "apps/process-agent/dist/main.js"]
