import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/**
 * One node of OpenSearch on 127.0.0.1: OpenSearchMain PORT DIR. Its distribution is not in Maven
 * Central; the server and its transport, of which it is made up, are.
 */
public final class OpenSearchMain {
  private static final class Single extends Node {
    Single(Environment env) {
      super(env, List.of(Netty4Plugin.class), false);
    }
  }

  public static void main(String[] args) throws Exception {
    Settings settings =
        Settings.builder()
            .put("path.home", args[1])
            .put("cluster.name", "lakeloader")
            .put("node.name", "search")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", args[0])
            .put("transport.port", "0")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
    Environment env =
        InternalSettingsPreparer.prepareEnvironment(
            settings, Map.of(), Path.of(args[1], "config"), () -> "search");
    new Single(env).start();
    Thread.currentThread().join();
  }
}
