# Node's current 20 on Debian: the same libc as the store's prebuilt binary.
FROM node:20-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev

FROM node:20-slim
ENV NODE_ENV=production \
    SLUICEMQ_HOST=0.0.0.0 \
    SLUICEMQ_DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/package.json /app/LICENSE ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist/src ./dist/src
COPY --from=build /app/dist/firmware-sim ./dist/firmware-sim
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 1883 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.SLUICEMQ_HTTP_PORT || 8080}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Whoever publishes the ports to a network has to say SLUICEMQ_ALLOW_ANONYMOUS=true: without it the broker explains and exits.
ENTRYPOINT ["node", "dist/src/main.js"]
CMD ["start"]
