exports = () => "pong";
