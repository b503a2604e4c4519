from local_server.generation.worker import main

main()
